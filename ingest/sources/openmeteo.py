"""An API that answers as Open-Meteo's forecast does (https://open-meteo.com/en/docs): the weather now, at places.

Asked for several places at once, it answers a list in their order; for one, the object alone. Errors are
`{"error": true, "reason": "..."}` with status 4xx. A condition is a code of WMO table 4677; the API uses a part of it.

What is wrong with one place's part of an answer costs that place only, and what is wrong with a value that is not
used costs nothing: each place is read by itself, and a token that JSON does not have (`-nan`) stands for itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Never

import aiohttp
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)
from yarl import URL

from ingest.errors import ConfigurationError, Unavailable
from ingest.jsontext import utc
from ingest.settings import Settings

log = logging.getLogger(__name__)

_Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""

FIELDS = {
    "temperature_2m": ("temperature_c", "°C"),
    "relative_humidity_2m": ("humidity_pct", "%"),
    "precipitation": ("precipitation_mm", "mm"),
    "wind_speed_10m": ("wind_kmh", "km/h"),
    "weather_code": ("condition", "wmo code"),
}
"""Variable of the API -> the field of `weather-data` that it becomes, and the unit it has to have."""

CONDITIONS = {
    0: "clear_sky",
    1: "mainly_clear",
    2: "partly_cloudy",
    3: "overcast",
    45: "fog",
    48: "rime_fog",
    51: "light_drizzle",
    53: "drizzle",
    55: "dense_drizzle",
    56: "light_freezing_drizzle",
    57: "freezing_drizzle",
    61: "light_rain",
    63: "rain",
    65: "heavy_rain",
    66: "light_freezing_rain",
    67: "freezing_rain",
    71: "light_snow",
    73: "snow",
    75: "heavy_snow",
    77: "snow_grains",
    80: "light_rain_showers",
    81: "rain_showers",
    82: "violent_rain_showers",
    85: "light_snow_showers",
    86: "snow_showers",
    95: "thunderstorm",
    96: "thunderstorm_light_hail",
    99: "thunderstorm_hail",
}
"""WMO code -> name. Another code is `wmo_<code>`: the contract takes it, and it can be seen."""

MOST_PLACES = 100
"""Places in one request: more would make its address too long for some servers."""
LONGEST_PAUSE = 120.0
"""Seconds that a request waits because the API asks for it; where it asks for more, the request has failed."""

_LONGEST_LATER = 86_400.0
_LONGEST_VALUE = 100
_GRID_DEGREES = 0.5
"""The API answers with the coordinates of its grid's cell, which is at most so far from the place that was asked for:
the coarsest grid has cells of 0.25 degrees, and a cell on land is taken for one at sea."""
_MOST_BYTES = 4 * 1024 * 1024
_UNITS = {"temperature_unit": "celsius", "wind_speed_unit": "kmh", "precipitation_unit": "mm"}


class TryLater(Unavailable):
    """The API wants to be left alone for longer than a request waits: `seconds`."""

    def __init__(self, message: str, hint: str, seconds: float) -> None:
        super().__init__(message, hint)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees north and east, WGS 84."""

    latitude: Decimal
    longitude: Decimal


@dataclass(frozen=True, slots=True)
class Reading:
    """The weather at a place.

    Attributes:
        observed: the time it holds for (UTC); the API renews it every 15 minutes.
        values: field of `weather-data` -> value; null where the API has none.
    """

    observed: datetime
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Unusable:
    """What stands in an answer for a value that is not valid, such as the text `-nan`."""

    text: str

    def __repr__(self) -> str:
        return self.text[:200]


class _Again(Exception):
    """A failure that may pass: the message, and the seconds the API asks to wait."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class OpenMeteo:
    """The API. A try that fails by itself (no answer, 408, 429, 5xx) is repeated, ever later and never in step.

    Args:
        settings: its address and key, how long a try may take, how many there are.
        stop: ends the tries when set.

    Attributes:
        address: its URL as it can be shown.

    Raises:
        ConfigurationError: the address is not an HTTP URL.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        try:
            url = URL(settings.weather_url.rstrip("/") + "/v1/forecast")
            usable = url.scheme in ("http", "https") and bool(url.host)
            secret = {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "")} if url.user else {}
        except ValueError:
            usable = False
        if not usable:  # not shown: where it is malformed, so may be what hides the password in it
            raise ConfigurationError(
                "LEVAIN_WEATHER_URL is no address of a weather API.", "Give it as http://host or https://host."
            )
        self.address = _shown_url(url)
        self._url = url.with_user(None)
        self._headers = {"User-Agent": "levain", **secret}
        self._key = settings.weather_api_key.get_secret_value()
        self._timeout = settings.weather_timeout_seconds
        self._stop = stop
        self._tries = Retrying(
            retry=retry_if_exception_type(_Again),
            wait=_wait,
            stop=stop_after_attempt(settings.weather_tries) | stop_when_event_set(stop),
            sleep=sleep_using_event(stop),
            before_sleep=_log_try,
            reraise=True,
        )

    def now(self, places: Sequence[Place]) -> list[Reading | Unavailable]:
        """The weather at each place, in their order; at most `MOST_PLACES`. An error stands for a place without one.

        Raises:
            TryLater: the API asks for a long pause.
            Unavailable: it does not answer, refuses the request, or answers in another format.
        """
        query = {
            "latitude": ",".join(str(place.latitude) for place in places),
            "longitude": ",".join(str(place.longitude) for place in places),
            "current": ",".join(FIELDS),
            "timezone": "GMT",
            **_UNITS,
            **({"apikey": self._key} if self._key else {}),
        }
        try:
            answer = self._tries(self._ask, query)
        except _Again as error:
            raise Unavailable(
                f"The weather API at {self.address} fails: {error}.",
                "It is asked again with the next poll; LEVAIN_WEATHER_URL says where it is.",
            ) from error
        found = _by_place(places, answer)
        return [self._reading(number, entry) for number, entry in enumerate(found)]

    def _ask(self, query: Mapping[str, str]) -> list[Any]:
        """One try: the places of the answer, numbers as decimals."""
        status, headers, body = asyncio.run(self._get_unless_stopped(query))
        self._check_status(status, headers, body)
        parts = _parts(body.decode(errors="replace").removeprefix("\ufeff"))
        if not parts:
            self._malformed(f"no place in it, or no JSON: {_shown(body)}")
        return [_read_part(part) for part in parts]

    async def _get(self, query: Mapping[str, str]) -> _Answer:
        """What the API answers; nothing is read of a redirect, which may be as large as it likes."""
        body = bytearray()
        whole = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=whole, headers=self._headers, trust_env=True) as session,
                session.get(self._url, params=query, allow_redirects=False) as response,
            ):
                if 300 <= response.status < 400 and (location := response.headers.get("Location")):
                    self._redirected(location)
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        self._malformed(f"more than {_MOST_BYTES} bytes")
                return response.status, response.headers, bytes(body)
        except TimeoutError as error:
            raise _Again(f"its answer was not whole within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Again(f"the connection failed: {_without_address(error)}") from error

    async def _get_unless_stopped(self, query: Mapping[str, str]) -> _Answer:
        task = asyncio.create_task(self._get(query))
        while not (await asyncio.wait([task], timeout=0.1))[0]:
            if self._stop.is_set():
                task.cancel()
                await asyncio.wait([task])
                raise _Again("told to stop before its answer was whole")
        return task.result()

    def _redirected(self, location: str) -> Never:
        try:
            where = _shown_url(self._url.join(URL(location)))[:200]
        except ValueError:
            where = "something that is not a URL"
        raise Unavailable(
            f"The weather API at {self.address} redirects to {where}.",
            "Set LEVAIN_WEATHER_URL to the address that it has now.",
        )

    def _check_status(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 200:
            return
        reason = f"HTTP {status}, {_reason(body)}"
        if status in (408, 429) or status >= 500:
            seconds = _retry_after(headers.get("Retry-After", ""))
            if seconds > LONGEST_PAUSE:
                raise TryLater(
                    f"The weather API at {self.address} asks to wait for {seconds:.0f} s: {reason}.",
                    "Ask less often (LEVAIN_WEATHER_EVERY_SECONDS), or with a key (LEVAIN_WEATHER_API_KEY).",
                    seconds,
                )
            raise _Again(reason, seconds)
        raise Unavailable(
            f"The weather API at {self.address} refuses the request: {reason}.",
            "Check the stores' coordinates, LEVAIN_WEATHER_URL and LEVAIN_WEATHER_API_KEY.",
        )

    def _reading(self, number: int, entry: Any) -> Reading | Unavailable:
        try:
            if isinstance(entry, _Unusable):
                self._malformed(f"place {number + 1} {entry}")
            if entry.get("error"):
                self._malformed(f"place {number + 1} has an error: {entry.get('reason')}")
            current, units = entry.get("current"), entry.get("current_units")
            if not isinstance(current, dict) or not isinstance(units, dict):
                self._malformed(f"place {number + 1} has no objects `current` and `current_units`")
            values = {}
            for name, (field, unit) in FIELDS.items():
                if name not in current:
                    self._malformed(f"place {number + 1} has no {name}")
                if units.get(name) != unit:
                    self._malformed(f"{name} of place {number + 1} is in {units.get(name)!r}, not in {unit}")
                if not _fit(current[name]):
                    self._malformed(f"{name} of place {number + 1} is no weather: {current[name]!r:.80}")
                values[field] = current[name]
            values["condition"] = condition(values["condition"])
            return Reading(self._time(number, entry, current.get("time")), values)
        except Unavailable as error:
            return error

    def _time(self, number: int, entry: Mapping[str, Any], text: Any) -> datetime:
        offset = entry.get("utc_offset_seconds", 0)
        try:
            return utc(datetime.fromisoformat(text) - timedelta(seconds=int(offset))).astimezone(UTC)
        except (TypeError, ValueError, OverflowError) as error:
            self._malformed(f"the time of place {number + 1} is {text!r}, offset {offset!r}", error)

    def _malformed(self, what: str, cause: Exception | None = None) -> Never:
        raise Unavailable(
            f"The weather API at {self.address} does not answer in Open-Meteo's format: {what}.",
            "Check that LEVAIN_WEATHER_URL is the address of such an API, without a path.",
        ) from cause


def condition(code: Any) -> Any:
    """The name of a WMO code; `wmo_<code>` of one that has none here. What is no code stays as it is."""
    if isinstance(code, Decimal) and code == code.to_integral_value():
        code = int(code)
    if isinstance(code, int) and not isinstance(code, bool):
        return CONDITIONS.get(code, f"wmo_{code}")
    return code


def _fit(value: Any) -> bool:
    """Whether an event can hold it: null, a number or a short text. What is odd among these its verdict names."""
    if not isinstance(value, int | Decimal | str | None) or isinstance(value, bool):
        return False
    try:
        return len(str(value).encode()) <= _LONGEST_VALUE
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair
        return False


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.seconds if isinstance(error, _Again) else 0.0
    return max(asked, wait_exponential_jitter(multiplier=0.5, max=30, jitter=0.5)(state))


def _log_try(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("Weather, try %d: %s; again in %.1f s", state.attempt_number, error, state.upcoming_sleep)


def _retry_after(text: str) -> float:
    """Seconds of a header `Retry-After`: a number, or the date until which to wait. At most a day; 0: neither."""
    try:
        if text.strip().isdecimal():
            seconds = float(text)
        else:
            seconds = (utc(parsedate_to_datetime(text)) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_LATER)


def _reason(body: bytes) -> str:
    """What the API says is wrong, in one line."""
    try:
        return " ".join(str(json.loads(body)["reason"]).split()).rstrip(".")
    except (ValueError, RecursionError, TypeError, KeyError):
        return _shown(body)


def _shown(body: bytes) -> str:
    return repr(" ".join(body[:120].decode(errors="replace").split()))


def _shown_url(url: URL) -> str:
    """The URL without what may be secret: name and password, and the query."""
    plain = str(url.with_user(None).with_query(None).with_fragment(None))
    return plain.replace("://", "://***@", 1) if url.user else plain


def _without_address(error: Exception) -> str:
    """What failed, in one line; the text of aiohttp's errors may hold the address, and with it the key."""
    if isinstance(error, aiohttp.ClientResponseError):
        text = error.message
    elif isinstance(error, OSError):
        text = str(error.strerror or error)
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


def _parts(text: str) -> list[str]:
    """The JSON of each place in an answer: the elements of its list, or its one object; none if it is neither.

    The text may end in the middle of an element. Tokens that JSON does not have are replaced by `_marked` ones.
    """
    words = [_marked(token[0]) if token["bare"] else token[0] for token in _TOKEN.finditer(text)]
    if not words or words[0] != "[":
        return [" ".join(words)] if words and words[0] == "{" else []
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words[1:]:
        depth += (word in ("[", "{")) - (word in ("]", "}"))
        if depth < 0:
            break
        if depth == 0 and word == ",":
            parts.append([])
        else:
            parts[-1].append(word)
    return [" ".join(part) for part in parts if part]


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|(?P<bare>[^\s\[\]{},:"]+)', re.DOTALL)
_JSON_WORD = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null")
_UNUSABLE = "\0"


def _marked(word: str) -> str:
    return word if _JSON_WORD.fullmatch(word) else json.dumps({_UNUSABLE: word})


def _read_part(text: str) -> Any:
    """The object of a place; `_Unusable` where it is not valid, and within it for each value that is not."""
    try:
        read = json.loads(text, parse_float=_number, parse_int=_number, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return _Unusable(f"is no JSON: {_shown(text.encode(errors='replace'))}")
    return read if isinstance(read, dict) else _Unusable("is no object")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0] == _UNUSABLE:
        return _Unusable(str(pairs[0][1]))
    read: dict[str, Any] = {}
    for name, value in pairs:
        read[name] = _Unusable("given twice") if name in read and read[name] != value else value
    return read


def _number(text: str) -> Decimal | int | _Unusable:
    """A number, exact; one that no field could hold is unusable: 1e999999999 would be a gigabyte of digits."""
    if len(text) > _LONGEST_VALUE:
        return _Unusable(text)
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent beyond what a decimal has
        return _Unusable(text)
    return value if abs(value.adjusted()) <= 30 else _Unusable(text)


def _by_place(places: Sequence[Place], entries: Sequence[Any]) -> list[Any]:
    """For each place its part of the answer, or an `_Unusable` that says why there is none.

    Parts come in the order of the places, but an API may leave one out or mix them up: so a part is taken only for a
    place that its coordinates are near to; first the part with the place's own number, then the nearest.
    """
    where = [_coordinates(entry) for entry in entries]
    near = sorted(
        (number != position or len(entries) != len(places), distance, number, position)
        for number, place in enumerate(places)
        for position, coordinates in enumerate(where)
        if isinstance(coordinates, tuple) and (distance := _degrees(place, coordinates)) <= _GRID_DEGREES
    )
    taken: dict[int, int] = {}
    for _, _, number, position in near:
        if number not in taken and position not in taken.values():
            taken[number] = position
    odd = [f"; part {position + 1} {each}" for position, each in enumerate(where) if isinstance(each, _Unusable)]
    missing = _Unusable(f"is not among the {len(entries)} of the answer{''.join(odd[:1])}")
    return [entries[taken[number]] if number in taken else missing for number in range(len(places))]


def _coordinates(entry: Any) -> tuple[float, float] | _Unusable:
    """Latitude and longitude of a part, in degrees."""
    if isinstance(entry, _Unusable):
        return entry
    for name in ("latitude", "longitude"):
        if isinstance(entry.get(name), bool) or not isinstance(entry.get(name), int | Decimal):
            reason = f": {entry['reason']}" if entry.get("error") and "reason" in entry else ""
            return _Unusable(f"has no {name}, but {entry.get(name)!r:.80}{reason}")
    return float(entry["latitude"]), float(entry["longitude"])


def _degrees(place: Place, coordinates: tuple[float, float]) -> float:
    """The greater of the differences in latitude and, as seen from the equator, in longitude."""
    latitude, longitude = coordinates
    around = abs(float(place.longitude) - longitude) % 360
    narrowed = min(around, 360 - around) * math.cos(math.radians(float(place.latitude)))
    return max(abs(float(place.latitude) - latitude), narrowed)
