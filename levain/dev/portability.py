"""Lint: no engine's own SQL outside the dispatched macros, and no order that leaves the place of nulls to the engine.

`python -m levain.dev.portability` reads models, snapshots, data tests and the macros that are not dispatched to one
engine, prints `file:line: what, what instead` for each finding, and exits with 1 if there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.settings import PROJECT_ROOT

SCANNED = ("models", "snapshots", "tests", "macros")

ENGINE_FOLDERS = ("macros/portable", "macros/adapters")
"""Where engines may be named."""

FUNCTIONS = {
    "hour_start, week_start, month_start": ("date_trunc", "trunc", "time_bucket", "last_day"),
    "days_between, micros_between or seconds_between": ("date_diff", "datediff", "age", "date_sub", "timestampdiff"),
    "add_days or add_seconds": ("date_add", "dateadd", "timestampadd", "add_months"),
    "year_of, quarter_of, month_of, day_of_month, iso_day_of_week, iso_week or hour_of": (
        *("date_part", "datepart", "extract", "year", "quarter", "month", "week", "weekofyear", "day", "dayofmonth"),
        *("dayofweek", "dayofyear", "isodow", "weekday", "yearweek", "hour", "minute", "second"),
    ),
    "day_name or month_name": ("dayname", "monthname", "date_format", "strftime"),
    "to_timestamp_utc, to_date or timestamp_literal": (
        *("to_timestamp", "to_date", "strptime", "make_date", "make_timestamp", "make_timestamptz", "to_utc_timestamp"),
        *("from_utc_timestamp", "from_unixtime", "try_to_timestamp", "timezone"),
    ),
    "epoch_micros or from_epoch_micros": (
        *("epoch", "epoch_ms", "epoch_us", "epoch_ns", "unix_timestamp", "unix_micros", "unix_millis", "unix_seconds"),
        *("unix_date", "timestamp_micros", "timestamp_millis", "timestamp_seconds"),
    ),
    "a column: no build reads the clock": (
        *("now", "today", "getdate", "current_timestamp", "current_date", "get_current_timestamp", "localtimestamp"),
        *("random", "rand", "uuid"),
    ),
    "parse_json_object and json_field": ("from_json", "to_json", "get_json_object", "parse_json", r"json_\w+"),
    "matches": (r"regexp\w*", "regexp_like"),
    "to_integer, to_decimal, to_date or to_timestamp_utc": ("try_cast", "safe_cast"),
    "md5_text or surrogate_key": ("md5", "md5_number", "sha1", "sha2", "sha256", "hash", "xxhash64", "crc32"),
    "join_texts": ("concat", "string_agg", "listagg", "group_concat", "collect_list", "collect_set"),
    "date_spine, or a macro in macros/portable": (
        *("unnest", "explode", "posexplode", "generate_series", "range", "sequence"),
        *(r"list_\w+", r"array_\w+", r"map_\w+", r"struct_\w+", "named_struct", "element_at", "try_element_at"),
    ),
    "nothing: engines fold letters beyond ASCII differently": ("lower", "upper", "lcase", "ucase", "initcap"),
    "coalesce or case": ("ifnull", "nvl", "nvl2", "if", "iff", "isnull"),
    "decimal_division": ("avg", "mean", "median", "percentile", "percentile_cont", "quantile", "quantile_cont"),
}
"""Functions that one engine lacks, or that answer differently, by what to use instead."""

WORDS = {
    r"::": "cast(... as ...)",
    r"\|\|": "join_texts",
    r"//": "decimal_division",
    r"->>?": "json_field",
    r"\"": "names that need no quotes, or adapter.quote",
    r"`": "names that need no quotes, or adapter.quote",
    r"\bqualify\b": "a CTE with row_number(), and where",
    r"\b(group|order)\s+by\s+all\b": "the columns",
    r"\bi?like\s+any\b|\bilike\b|\bsimilar\s+to\b|\brlike\b": "matches",
    r"\*\s*(exclude|except|replace)\b": "the columns",
    r"\binterval\b": "add_days or add_seconds",
    r"\b(asof|semi|anti|positional)\s+join\b": "exists, or a join",
    r"\b(current_timestamp|current_date|localtimestamp)\b(?!\s*\()": "a column: no build reads the clock",
    r"\bat\s+time\s+zone\b": "UTC timestamps throughout",
    r"\b(pivot|unpivot)\b": "case, once for each column",
    r"<=>": "null_safe_equal",
}
"""Syntax of one engine, by what to use instead."""

JINJA_WORDS = {
    r"\btarget\.(type|name)\b": "a dispatched macro in macros/portable",
    r"\badapter\.type\(\)": "a dispatched macro in macros/portable",
}
"""The same inside Jinja."""

_CHECKS = [
    (re.compile(rf"(?<![\w.])(?:{'|'.join(names)})\s*\(", re.IGNORECASE), instead)
    for instead, names in FUNCTIONS.items()
]
_WORD_CHECKS = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in WORDS.items()]
_JINJA_CHECKS = [(re.compile(pattern), instead) for pattern, instead in JINJA_WORDS.items()]

_ORDER_BY = re.compile(r"\border\s+by\b", re.IGNORECASE)
_NULLS_PLACED = re.compile(r"\bnulls\s+last\s*$", re.IGNORECASE)
_FRAME = re.compile(r"\b(?:rows|range|groups)\s+(?:between|unbounded|current|\d)|\blimit\b", re.IGNORECASE)
"""What may follow the keys of an `order by`."""

_COMMENT = re.compile(r"\{#.*?#\}|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ENGINE_MACRO = re.compile(r"\{%-?\s*macro\s+(?:duckdb|spark|default)__.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)
_LITERAL = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# A string in Jinja may hold braces itself: post_hook="{{ ... }}".
_JINJA = re.compile(rf"\{{\{{(?:{_LITERAL}|[^'\"])*?\}}\}}|\{{%(?:{_LITERAL}|[^'\"])*?%\}}")
_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_JINJA_STRING = re.compile(_LITERAL)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is one engine's own."""

    path: str
    line: int
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}, use {self.instead}"


def findings(root: Path = PROJECT_ROOT) -> list[Finding]:
    """Everything found below a project's folders, in order."""
    found: list[Finding] = []
    for folder in SCANNED:
        for path in sorted((root / folder).rglob("*.sql")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(ENGINE_FOLDERS):
                found += findings_in(path.read_text(encoding="utf-8"), name)
    return sorted(found)


def findings_in(text: str, path: str) -> list[Finding]:
    """What is found in one file's text: in its SQL, in its Jinja, and in the SQL that Jinja has as strings."""
    text = _blank(_COMMENT, text)
    text = _blank(_ENGINE_MACRO, text)
    jinja = "".join(
        character if inside else _blanked(character)
        for character, inside in zip(text, _inside(_JINJA, text), strict=True)
    )
    sql = _blank(_STRING, _blank(_JINJA, text))
    quoted = "".join(
        character if inside else _blanked(character)
        for character, inside in zip(jinja, _inside(_JINJA_STRING, jinja), strict=True)
    )
    found = {
        Finding(path, _line(searched, match.start()), _shown(match[0]), instead)
        for searched, checks in ((sql, _CHECKS), (sql, _WORD_CHECKS), (jinja, _JINJA_CHECKS), (quoted, _CHECKS))
        for pattern, instead in checks
        for match in pattern.finditer(searched)
    }
    # A macro's call in SQL may be a key, so it stays as one letter; SQL in Jinja's strings is read string by string.
    keyed = _blank(_STRING, _JINJA.sub(lambda m: ("_" if m[0][1] == "{" else " ") + _blanked(m[0])[1:], text))
    strings = ((match.start() + 1, match[0][1:-1]) for match in _JINJA_STRING.finditer(jinja))
    found |= {
        Finding(path, _line(text, place + start), f"order by {_shown(key)}", "nulls last after each key")
        for place, searched in ((0, keyed), *strings)
        for start, key in _order_by_keys(searched)
        if not _NULLS_PLACED.search(key)
    }
    return sorted(found)


def _order_by_keys(text: str) -> Iterator[tuple[int, str]]:
    """The keys of every `order by`, each with the place of that `order by`: up to what closes it, or a frame."""
    for match in _ORDER_BY.finditer(text):
        depth, keys = 0, [""]
        for character in text[match.end() :]:
            depth += (character in "([{") - (character in ")]}")
            if depth < 0 or (depth == 0 and character == ";"):
                break
            if depth == 0 and character == ",":
                keys.append("")
            else:
                keys[-1] += character
        keys[-1] = _FRAME.split(keys[-1])[0]
        yield from ((match.start(), key.rstrip()) for key in keys)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _shown(text: str) -> str:
    return " ".join(text.split()).removesuffix("(").strip()


def _blanked(text: str) -> str:
    """Blanks of the same length and lines, so that positions keep their line."""
    return "".join("\n" if character == "\n" else " " for character in text)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: _blanked(match[0]), text)


def _inside(pattern: re.Pattern[str], text: str) -> Iterator[bool]:
    """For each character, whether it is part of a match."""
    at = 0
    for match in pattern.finditer(text):
        yield from [False] * (match.start() - at)
        yield from [True] * (match.end() - match.start())
        at = match.end()
    yield from [False] * (len(text) - at)


def main(found: Iterable[Finding] | None = None) -> int:
    """Print the findings. Returns the exit code."""
    lines = [str(finding) for finding in (findings() if found is None else found)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
