"""The weather at each shop, polled from an API like Open-Meteo's and published to `weather-data`."""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ingest.contracts import Contract, contract_for
from ingest.errors import BadInput, Unavailable
from ingest.jsontext import json_object, json_timestamp
from ingest.settings import Settings
from ingest.sources import extracts
from ingest.sources.csvlines import CsvLines, NoHeader, Row
from ingest.sources.openmeteo import MOST_PLACES, OpenMeteo, Place, Reading, TryLater
from ingest.sources.publish import RECEIVED_AT, Publisher
from ingest.sources.service import Backoff

log = logging.getLogger(__name__)

TOPIC = "weather-data"
STORES_TOPIC = "store-extracts"

_HINT = (
    "Drop an extract of the stores, or name a CSV file with the columns store_id, latitude, longitude in "
    'LEVAIN_WEATHER_STORES; `levain query "select store_id, latitude, longitude from gold.dim_store where is_current" '
    "--format csv` writes one."
)


@dataclass(frozen=True, slots=True)
class Observation:
    """An event of `weather-data`, and when it was read from the API."""

    store_id: str
    fields: dict[str, Any]
    received: datetime


class Weather:
    """Polls the weather of every shop and publishes each observation once.

    Args:
        settings: the API, the stores, how often, which broker.

    Raises:
        ConfigurationError: the contract of `weather-data` is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.contract = contract_for(TOPIC)
        self._waiting: dict[str, Observation] = {}
        self._latest: dict[str, datetime] = {}

    def once(self, stop: threading.Event) -> None:
        """One poll; see `ingest.sources.service.Source`.

        Raises:
            LevainError: the stores are not known, the API or Kafka failed, or the weather of some stores cannot be
                read: that of the others is published.
        """
        try:
            failed = self._poll(OpenMeteo(self.settings, stop), stop)
        finally:
            self._publish()
        if failed:
            more = f" So were {len(failed) - 1} more, see above." if len(failed) > 1 else ""
            raise Unavailable(failed[0].message + more, failed[0].hint)

    def watch(self, stop: threading.Event) -> None:
        """Poll until `stop`; see `ingest.sources.service.Source`.

        While Kafka is away polling goes on, and observations wait in memory; at the end they are tried once more.
        """
        api = OpenMeteo(self.settings, stop)
        api_backoff, kafka_backoff = Backoff(), Backoff()
        poll_at = publish_at = time.monotonic()
        log.info("Asking %s every %g s", api.address, self.settings.weather_every_seconds)
        while not stop.wait(max(0.0, min(poll_at, publish_at if self._waiting else poll_at) - time.monotonic())):
            if time.monotonic() >= poll_at:
                began = time.monotonic()
                try:
                    self._poll(api, stop)
                except (BadInput, Unavailable) as error:
                    delay = max(error.seconds if isinstance(error, TryLater) else 0.0, api_backoff.failed())
                    log.warning("%s %s Asking again in %.0f s.", error.message, error.hint, delay)
                    poll_at = time.monotonic() + delay
                else:
                    api_backoff.worked()
                    poll_at = began + self.settings.weather_every_seconds
            if self._waiting and time.monotonic() >= publish_at:
                try:
                    self._publish()
                except Unavailable as error:
                    delay = kafka_backoff.failed()
                    log.warning(
                        "%s %s %d observations wait; trying again in %.0f s.",
                        *(error.message, error.hint, len(self._waiting), delay),
                    )
                    publish_at = time.monotonic() + delay
                else:
                    kafka_backoff.worked()
        try:
            self._publish()
        except Unavailable as error:
            log.warning(
                "%s %d observations were not published: the next start asks again, for what the API still has.",
                *(error.message, len(self._waiting)),
            )

    def _poll(self, api: OpenMeteo, stop: threading.Event) -> list[Unavailable]:
        """Put new observations with those that wait; returns what went wrong with single stores.

        Raises:
            BadInput: the file of the stores cannot be used.
            Unavailable: there is none, or the API failed for some stores, after the others were asked for.
            TryLater: the API failed and asks for a long pause.
        """
        places = stores(self.settings)
        names, failed, new = list(places), [], 0
        refused: Unavailable | None = None
        for first in range(0, len(names), MOST_PLACES):
            some = names[first : first + MOST_PLACES]
            try:
                readings = api.now([places[name] for name in some])
            except Unavailable as error:
                log.warning("Stores %s to %s have no weather: %s", some[0], some[-1], error.message)
                refused = error
                if stop.is_set() or isinstance(error, TryLater):
                    break
                continue
            received = datetime.now(UTC)
            for store_id, reading in zip(some, readings, strict=True):
                if isinstance(reading, Unavailable):
                    failed.append(Unavailable(f"Store {store_id}: {reading.message}", reading.hint))
                    log.warning("%s", failed[-1].message)
                elif self._latest.get(store_id) != reading.observed:
                    if str(reading.values["condition"]).startswith("wmo_"):
                        log.warning("Store %s: the weather code of %s has no name", store_id, reading.values)
                    fields = observation(self.contract, store_id, reading)
                    self._waiting[fields[self.contract.identity]] = Observation(store_id, fields, received)
                    self._latest[store_id] = reading.observed
                    new += 1
        log.info("%d stores asked for, %d new observations, %d failures", len(names), new, len(failed))
        if refused and not stop.is_set():
            raise refused
        return failed

    def _publish(self) -> None:
        """Publish what waits; it waits on if Kafka does not take all of it."""
        if not self._waiting:
            return
        with Publisher(self.settings, [TOPIC]) as publisher:
            for each in self._waiting.values():
                received = (RECEIVED_AT, json_timestamp(each.received).encode())
                publisher.publish(TOPIC, each.store_id.encode(), json_object(each.fields).encode(), [received])
        log.info("%d observations published", len(self._waiting))
        self._waiting.clear()


def observation(contract: Contract, store_id: str, reading: Reading) -> dict[str, Any]:
    """The event: its identity follows from store and time, so the same observation is the same event at each poll."""
    moment = json_timestamp(reading.observed)
    return {
        contract.identity: uuid5(NAMESPACE_URL, f"levain:{TOPIC}/{store_id}/{moment}"),
        contract.event_time: reading.observed,
        "store_id": store_id,
        **reading.values,
    }


def stores(settings: Settings) -> Mapping[str, Place]:
    """Store -> its place: from the CSV file of `LEVAIN_WEATHER_STORES`, else from the newest extract of the stores.

    Raises:
        Unavailable: there is no such file, or it cannot be read.
        BadInput: it holds no store with coordinates.
    """
    path = settings.weather_stores.expanduser() if settings.weather_stores else _newest_extract(settings)
    found: dict[str, Place] = {}
    try:
        with path.open("rb") as file:
            lines = CsvLines(file, ("store_id", "latitude", "longitude"))
            missing = {"store_id", "latitude", "longitude"} - set(lines.columns)
            if missing:
                raise NoHeader(f"its header has no column {sorted(missing)[0]}")
            for line in lines:
                # An extract may hold bad lines, which enter Bronze as rejected: here they have no place.
                values = dict(zip(lines.columns, line.values, strict=True)) if isinstance(line, Row) else {}
                place = _place(values.get("latitude", ""), values.get("longitude", ""))
                if place is None or not values["store_id"]:
                    log.warning("%s line %d has no store with coordinates: left out", path, line.line)
                else:
                    found[values["store_id"]] = place
    except OSError as error:
        raise Unavailable(f"The stores cannot be read from {path}: {error.strerror}.", _HINT) from error
    except NoHeader as error:
        raise BadInput(f"The stores cannot be read from {path}: {error}.", _HINT) from error
    if not found:
        raise BadInput(f"{path} holds no store with coordinates.", _HINT)
    return found


def _newest_extract(settings: Settings) -> Path:
    folder = settings.drops / STORES_TOPIC
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise Unavailable(f"The stores cannot be read from {folder}: {error.strerror}.", _HINT) from error
    dated = [
        (day, path.name, path)
        for path in paths
        if path.suffix.lower() == ".csv"
        and not extracts.is_hidden(path.name)
        and (day := extracts.date_in(path.name))
        and _whole(path, settings.drops_settle_seconds)
    ]
    if not dated:
        raise Unavailable(f"Whose weather to ask for is not known: there is no whole extract in {folder}.", _HINT)
    return max(dated)[2]


def _whole(path: Path, settle_seconds: float) -> bool:
    try:
        about = path.stat()
    except OSError:  # archived meanwhile, or a link that leads nowhere
        return False
    return stat.S_ISREG(about.st_mode) and abs(time.time() - about.st_mtime) >= settle_seconds


def _place(latitude: str, longitude: str) -> Place | None:
    try:
        place = Place(Decimal(latitude.strip()), Decimal(longitude.strip()))
        return place if abs(place.latitude) <= 90 and abs(place.longitude) <= 180 else None
    except InvalidOperation:  # no number, or NaN
        return None
