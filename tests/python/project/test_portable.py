"""Every macro of macros/portable on both engines over the same nasty inputs: equal value for value, and right."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from hashlib import md5
from pathlib import Path
from statistics import median, stdev
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from dbt.cli.main import dbtRunner

from ingest.settings import PROJECT_ROOT, Settings

# pyspark leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FIELDS = ("a", "b", "timestamp")

DOCUMENTS = [
    '{"a":1}', ' \t\r\n{"a" :\n1 } ', "{}", '{"b":2}', '{"a":null,"b":"x"}', '{"a":true,"b":false}',
    '{"timestamp":"t"}',
    '{"a":{"b":[1.10,2]}}', '{"a":[{"a":"5"}]}', '{"a":"x\\/y\\"\\\\\\b\\f\\n\\r\\t"}', '{"a":"é😀"}',
    '{"a":"\\u00e9"}',
    '{"a":"\\ud83d\\ude00"}', '{"a":"\\\\ud800"}', '{"a":"\\u0000x"}', '{"a":"\x7f"}', '{"\\u0061":7}', '{"":1,"a":2}',
    '{"A":1,"a":2}', '{"A":1}', '{"a":1,"a":2}', '{"a":null,"a":2}', '{"a":2,"a":null}', '{"\\u0061":1,"a":2}',
    '{"a":1,"\\u0061":2}', '{"":1,"":2,"a":3}', '{"a":{"b":1,"b":2},"b":3,"b":4}', '{"b":{"a":1},"a":2}',
    '{"a":"nan, inf, ,}"}', '{"a":"[{,]}"}', '{"name":"Jean, infant"}',
    # numbers
    '{"a":1.10}', '{"a":-0}', '{"a":-0.0}', '{"a":1e3}', '{"a":1E-7}', '{"a":0.1e1}', '{"a":1e400}', '{"a":-1e400}',
    '{"a":123456789012345678901234567890.5}', '{"a":1234567890123456789012345678901234567890}', '{"a":1e-400}',
    # not JSON, or not one object
    "", " ", "null", "5", '"s"', "[]", '[{"a":1}]', "true", '{"a":1}x', '{"a":1}{"a":2}', '{"a":1},{"a":2}', '{"a":1}]',
    '{"a":1},{"mark":"1"}]', '{"a":1}\x00', '\ufeff{"a":1}', '\x0c{"a":1}', '\u00a0{"a":1}', '{"a":1}\u2028',
    '{"a":1,}', '{"a":[1,]}', '{,"a":1}', '{"a":1,,"b":2}', '{"a":}', '{"a" 1}', '{"a":1 "b":2}', '{"a":1', '{"a":"x}',
    "{",
    "{'a':1}", "{a:1}", '{"a":01}', '{"a":.5}', '{"a":1.}', '{"a":+1}', '{"a":0x1F}', '{"a":1 /*c*/}', '{"a":1}//c',
    '{"a":NaN}', '{"a":nan}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":inf}', '{"b":"nan","a":[-INF]}',
    '{"a":"NaN","b":NaN}',
    '{"a":tru}', '{"a":True}', '{"a":None}', '{"a":"\\x41"}', '{"a":"\\u12"}', '{"a":"\x01"}', '{"a":"\t"}',
    '{"a":"\n"}',
    '{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\udc00\\ud800"}', '{"a":"\\ud800x\\udc00"}', '{"a":"\\\\\\ud800"}',
    '{"\\ud800":1}', '{"a":"\\ud800\\ud83d\\ude00"}', '{"a":1;"b":2}', '{1:2}', "{null:1}", '{"a":1}\n\n\n',
    '{"a":"' + "x" * 5000 + '"}',
    # beyond what is read
    '{"a":' + "[" * 999 + "]" * 999 + "}", '{"a":' + "9" * 1000 + "}",
    # still read
    '{"a":' + "[" * 998 + "]" * 998 + "}", '{"a":' + "9" * 999 + "}", "[" * 2000, '{"b":[' + "1," * 3000 + '1],"a":1}',
]  # fmt: skip

STRINGNESS = [
    ('{"a":"5"}', True), ('{"a":5}', False), ('{"a" \n:\t"5"}', True), ('{"a" : 5}', False), ('{"a":"-1.5"}', True),
    ('{"a":"true"}', True), ('{"a":true}', False), ('{"a":"trueish"}', True), ('{"a":"{}"}', True), ('{"a":{}}', False),
    ('{"a":[]}', False), ('{"a":"[x"}', True), ('{"a":null}', False), ('{"b":1}', False), ('{"a":"x"}', True),
    ('{"a":""}', True), ('{"a":"5","b":{"a":5}}', True), ('{"a":5,"b":{"a":"5"}}', False), ('{"b":{"a":"5"},"a":5}',
    False),
    ('{"b":{"a":5},"a":"5"}', True), ('{"a":"5","b":{"a":"6"}}', True), ('{"a":1e400}', False),
    ('{"a":"\\"Infinity\\""}', True),
    ('{"a":-1e400}', False), ('{"b":"\\"a\\":5","a":"7"}', True), ("no JSON", False),
    # of a repeated name the first counts
    ('{"a":"5","a":5}', True), ('{"a":5,"a":"5"}', False), ('{"a":"true","a":true}', True),
    ('{"a":true,"a":"true"}', False), ('{"a":"{}","a":{}}', True), ('{"a":[],"a":"[]"}', False),
    ('{"a":null,"a":"5"}', False), ('{"a":"5","a":null}', True), ('{"a":5,"a":"x"}', False), ('{"a":"x","a":5}', True),
    ('{"b":{"a":1,"a":"2"},"a":"5"}', True), ('{"a":"5","b":{"x":1,"x":2,"a":3}}', True),
    ('{"b":[{"a":"5"},{"a":6}],"a":7}', False), ('{"A":5,"a":"5"}', True), ('{"A":"5","a":5}', False),
    ('{"":1,"":"2","a":"5","a":5}', True),
    # a name written with escapes, and texts that look like a name
    ('{"\\u0061":"5"}', True), ('{"\\u0061":5}', False), ('{"\\u0061":5,"b":{"a":"5"}}', False),
    ('{"\\u0061":"5","a":5}', True), ('{"\\u0061":5,"a":"5"}', False), ('{"a":5,"\\u0061":"5"}', False),
    ('{"a":"5","b":"\\\\u0061","c":{"a":5}}', True), ('{"x\\"a":5,"a":"5"}', True),
    ('{"sa":"5","a":6,"b":{"a":"7"}}', False),
    ('{"a":"5\\\\","b":{"a":5}}', True), ('{"a":"5\\"","b":{"a":5}}', True), ('{"a":"-é😀","b":{"a":5}}', True),
    ('{"a":"1' + '\\\\' * 40_000 + '","b":{"a":5}}', True),
]  # fmt: skip

NUMBERS = [
    "0", "-0", "7", "007", "-12", "12.5", "12.50", "12.500", "12.505", "0.005", "-0.01", "1e3", "1E+3", "1.5e1",
    "1e-2", "1e-3", "1e400",
    "-1e400", "1e-400", "9999999999.99", "10000000000", "9999999999.995", "99999999999999999999", "0.1", "0.10",
    "0.30000000000000004",
    "999999999999999999", "9999999999999999999", "9223372036854775807", "-999999999999999999",
    "1234567890123456789012345678901234567890",
    "", " ", " 7", "7 ", "7\n", "+7", "1_000", "1,5", "0x1F", "1.", ".5", "1e", "e5", "--1", "NaN", "Infinity", "-inf",
    "1.5d", "1L",
    "٣", "²", "true", "-", "1 2", '"7"', "1\x00", "2147483648", "1.1e-7", "123456.78", "4503599627.37", "1.005",
]  # fmt: skip

MOMENTS = {
    "2025-12-22T10:30:45.123456": datetime(2025, 12, 22, 10, 30, 45, 123456, UTC),
    "2025-12-22 10:30:45": datetime(2025, 12, 22, 10, 30, 45, 0, UTC),
    "2025-12-22T10:30:45Z": datetime(2025, 12, 22, 10, 30, 45, 0, UTC),
    "2025-12-22T10:30:45.1Z": datetime(2025, 12, 22, 10, 30, 45, 100000, UTC),
    "2025-12-22T10:30:45.123456789Z": datetime(2025, 12, 22, 10, 30, 45, 123456, UTC),
    "2025-12-22T10:30:45.9999999+02:00": datetime(2025, 12, 22, 8, 30, 45, 999999, UTC),
    "2025-12-22T00:00:00+14:00": datetime(2025, 12, 21, 10, 0, 0, 0, UTC),
    "2025-12-22T23:59:59-13:59": datetime(2025, 12, 23, 13, 58, 59, 0, UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
    "1969-12-31T23:59:59.999999Z": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    "1582-10-10T00:00:00Z": datetime(1582, 10, 10, tzinfo=UTC),
    "0001-01-02T00:00:00Z": datetime(1, 1, 2, tzinfo=UTC),
    "9999-12-30T23:59:59Z": datetime(9999, 12, 30, 23, 59, 59, 0, UTC),
    "2025-03-30T02:30:00": datetime(2025, 3, 30, 2, 30, tzinfo=UTC),
} | dict.fromkeys([
    "", " ", "2025", "2025-12", "2025-12-22", "10:30:45", "2025-12-22T10", "2025-12-22T10:30", "2025-12-22T10:30Z",
    "20251222T103045Z",
    "2025-12-22t10:30:45z", "2025-12-22T10:30:45z", " 2025-12-22T10:30:45", "2025-12-22T10:30:45 ",
    "2025-12-22T10:30:45\n",
    "2025-12-22T24:00:00Z", "2025-12-22T10:60:00Z", "2025-12-22T10:30:60Z", "2025-02-29T00:00:00Z",
    "2025-02-30T00:00:00", "2025-13-01T00:00:00",
    "2025-00-10T00:00:00", "2025-12-00T00:00:00", "0000-01-01T00:00:00", "10000-01-01T00:00:00",
    "-2025-12-22T10:30:45", "2025-12-22T10:30:45.",
    "2025-12-22T10:30:45.1234567890", "2025-12-22T10:30:45,5", "2025-12-22T10:30:45+0200", "2025-12-22T10:30:45+02",
    "2025-12-22T10:30:45+14:01",
    "2025-12-22T10:30:45+2:00", "2025-12-22T10:30:45 UTC", "2025-12-22T10:30:45 Europe/Paris", "2025-12-22  10:30:45",
    "22/12/2025 10:30:45",
    "1766399445", "now", "epoch", "infinity", "today", "2025-1-2T1:2:3", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "2025-12-22T10:30:45Z\x00",
])  # fmt: skip

DAYS = {"2025-12-22": date(2025, 12, 22), "2024-02-29": date(2024, 2, 29), "0001-01-01": date(1, 1, 1),
    "9999-12-31": date(9999, 12, 31)} | dict.fromkeys(
    ["", "2025-02-29", "2025-12-32", "2025-1-2", "2025-12-22T00:00:00", " 2025-12-22", "2025-12-22\n", "20251222",
    "2025", "0000-01-01", "today", "12025-12-22"]
)  # fmt: skip

UUIDS = {
    "0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b": "0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b",
    "0B8F4C1E-7A3D-4E5F-9A1B-2C3D4E5F6A7B": "0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b",
} | dict.fromkeys([
    "", "0b8f4c1e7a3d4e5f9a1b2c3d4e5f6a7b", "{0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b}",
    "0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7", "gb8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b",
    "0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b\n", " 0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b",
    "urn:uuid:0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b",
])  # fmt: skip

TEXTS = ["", " ", "S001", "s001", "S001\n", "S001 ", "\r", "é", "É", "😀", "a|b", "b", "a", "|", "-", "0", "it's",
    'say "x"', "back\\slash", "%_", "\x00", "ß", "İ", "a.b", "axb", "a\nb", "a\rb", "a\u2028b"]  # fmt: skip
PATTERNS = ["^S[0-9]{3}$", "[0-9]+", "^$", "^[^ ]*$", "it's", r"\\", r"^\S+$", "a.b", "(a|b)$", "^.$", r"\$"]

DATES = [date(2025, 12, 22), date(2025, 1, 1), date(2024, 12, 30), date(2021, 1, 3), date(2020, 12, 31), date(2024, 2,
    29), date(1969, 12, 31), date(1900, 3, 1), date(2026, 6, 28)]  # fmt: skip
STAMPS = [datetime(2025, 12, 22, 23, 59, 59, 999999, UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23,
    0, 0, 1, UTC), datetime(2025, 3, 30, 1, 30, tzinfo=UTC), datetime(1910, 5, 5, 5, 5, 5, 5, UTC)]  # fmt: skip
DIVISIONS = [("10", "4"), ("1", "3"), ("2", "3"), ("-2", "3"), ("2", "-3"), ("1", "8"), ("-1", "8"), ("0.125", "1"),
    ("0.005", "1"), ("-0.005", "1"), ("1", "0"), (None, "1"), ("1", None), ("0", "7"), ("99999999.99", "0.03"), ("1",
    "999999999"), ("1799.98", "2"), ("0.05", "2"), ("0.15", "2"), ("0.25", "10"),
    ("12345678901234567890123456.78", "98765432109876543"), ("-99999999999999999999999999.99", "3333333333333333333"),
    ("4999999999.9999", "1000000000000"), ("5000000000", "1000000000000"), ("1", "9999999999999999999")]  # fmt: skip


def fuzzed_documents(count: int, seed: int) -> list[str]:
    """Documents damaged in one to three places: most are broken, some only different."""
    chance = random.Random(seed)
    whole = [text for text in DOCUMENTS if 2 < len(text) < 200] + [
        '{"a": "R1", "b": 2.50, "timestamp": "2025-12-22", "c": [1, {"a": null}], "d": {"b": "nan", "e": -1.5E3}}'
    ] * 40
    pieces = [*"{}[]:,\"'\\ \n\t0123456789.eE+-/abnut", '"a"', '"b":', "null", "NaN", "inf", ",}", "1e5", "\x00", "é"]
    pieces += ["\\u0041", "\\ud83d", "\\ude00", "//", "[]", "{}"]
    out = []
    while len(out) < count:
        text = chance.choice(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            match chance.randrange(4):
                case 0:
                    text = text[:at] + text[at + 1 :]
                case 1:
                    text = text[:at] + chance.choice(pieces) + text[at:]
                case 2:
                    text = text[:at] + chance.choice(pieces) + text[at + 1 :]
                case 3:
                    end = min(len(text), at + chance.randint(1, 12))
                    text = text[:end] + text[at:end] + text[end:]
        out.append(text)
    return out


def strict_object(text: str) -> dict[str, Any] | None:
    """What the document is by Python's reader, made as strict as RFC 8259; None when it is no object."""

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    def refuse(word: str) -> None:
        raise ValueError(word)

    def characters(value: Any) -> str:
        match value:
            case str():
                return value
            case dict():
                return "".join(map(characters, [*value, *value.values()]))
            case list():
                return "".join(map(characters, value))
        return ""

    try:
        found = json.loads(text, parse_constant=refuse, object_pairs_hook=first)
        characters(found).encode()
        # A repeated name hides a value from the check above; the whole text shows it.
        json.loads(text, object_pairs_hook=lambda pairs: characters([list(pair) for pair in pairs]).encode() and None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


NESTED = {
    # what `a` holds, and its JSON text as an array of strings; None: it is no such array
    '["x","y"]': '["x","y"]', " [ ] ": "[]",
    '["a\\"b\\\\c/d\\/e","\\u00e9é😀\\ud83d\\ude00"]': '["a\\"b\\\\c/d/e","éé😀😀"]',
    '["\\u0000\\u0001\\u000B\\u000e\\u001f\\b\\f\\n\\r\\t\\u007f\\u2028"]':
        '["\\u0000\\u0001\\u000B\\u000E\\u001F\\b\\f\\n\\r\\t\x7f\u2028"]',
    '["\\\\u001f","\\\\\\u001f","s","","null","{}","[]"]': '["\\\\u001f","\\\\\\u001F","s","","null","{}","[]"]',
    '["x",null]': None, '["x",1]': None,
    '["x",true]': None, '["x",["y"]]': None, '["x",{"a":"y"}]': None, '["x",1e400]': None,
    '"x"': None, '"[]"': None, "1": None, "true": None, "null": None, '{"a":"x"}': None, "{}": None, "1e400": None,
}  # fmt: skip
OBJECTS = {
    # what `a` holds, and its JSON text as an array of objects with n decimal(9,2), required, d date, t, u, b, m
    '[{"n":1.10}]': '[{"n":1.10,"d":null,"t":null,"u":null,"b":null,"m":null}]',
    '[{"m":"2026-01-31T10:00:00+02:00","b":false,"t":"1","x":[{}],"n":"-0.5","d":"2024-02-29"},{"n":1e2,"d":null}]':
        '[{"n":-0.50,"d":"2024-02-29","t":"1","u":null,"b":false,"m":"2026-01-31T10:00:00+02:00"},'
        '{"n":100.00,"d":null,"t":null,"u":null,"b":null,"m":null}]',
    '[{"n":1,"n":"x","t":"a","t":2,"N":3,"sn":4,"u":"0B8F4C1E-7A3D-4E5F-9A1B-2C3D4E5F6A7B"}]':
        '[{"n":1.00,"d":null,"t":"a","u":"0b8f4c1e-7a3d-4e5f-9a1b-2c3d4e5f6a7b","b":null,"m":null}]',
    '[{"\\u006e":7}]': '[{"n":7.00,"d":null,"t":null,"u":null,"b":null,"m":null}]', "[]": "[]",
    "[{}]": None, '[{"n":null}]': None, '[{"n":1.005}]': None, '[{"n":1e400}]': None, '[{"n":"x"}]': None,
    '[{"n":1,"t":2}]': None, '[{"n":1,"t":{"t":"x"}}]': None,
    '[{"n":1,"d":"2026-02-30"}]': None, '[{"n":1,"b":1}]': None,
    '[{"n":1},null]': None, '[{"n":1},[]]': None, '[{"n":1},"{}"]': None, '{"n":1}': None, '"[{}]"': None, "null": None,
}  # fmt: skip
PAYLOADS = {
    # bytes without a text -> what a topic's encodings call that
    None: (None, None), b"": ("message_without_schema_id",) * 2, b"\0": ("message_without_schema_id",) * 2,
    b"\0\0\0\0": ("message_without_schema_id",) * 2, b"\1\0\0\0\7x": ("message_without_schema_id",) * 2,
    b"{}{}{}": ("message_without_schema_id",) * 2, b"\xff\0\0\0\7x": ("message_without_schema_id",) * 2,
    b"\0\0\0\0\7": ("message_undecodable", "message_not_utf8"),
    b"\0\xff\xff\xff\xff" + bytes(range(256)) * 9: ("message_undecodable", "message_not_utf8"),
}  # fmt: skip
OBJECT = (
    "{'type': 'object', 'members': {'n': {'type': 'decimal(9,2)', 'required': true}, 'd': {'type': 'date'}, "
    "'t': {'type': 'string'}, 'u': {'type': 'uuid'}, 'b': {'type': 'boolean'}, 'm': {'type': 'timestamp'}}}"
)
MEMBER = "json_member(json_members(mark_json_strings('t'), ['b', 'a']), 'a')"

EXPRESSIONS: dict[str, tuple[str, str]] = {
    "array_of_strings": ("nested", f"array_text(json_items({MEMBER}), {{'type': 'string'}})"),
    "array_of_objects": (
        "objects",
        f"array_text(map_list(json_items({MEMBER}), 'item', members_if_object('item', "
        f"['n', 'd', 't', 'u', 'b', 'm'])), {OBJECT})",
    ),
    "list_length": ("nested", f"list_length(json_items({MEMBER}))"),
    "member_string": ("stringness", f"cast_marked({MEMBER}, 'string')"),
    "member_boolean": ("stringness", f"cast_marked({MEMBER}, 'boolean')"),
    "member_decimal": ("stringness", f"cast_marked({MEMBER}, 'decimal(12,2)')"),
    "to_json_string": ("texts", "to_json_string('t')"),
    "parsed": ("documents", "parse_json_object('t', ['a', 'b', 'timestamp'])"),
    "field": ("parsed", "json_field('fields', 'timestamp')"),
    "field_a": ("parsed", "json_field('fields', 'a')"),
    "stringness": ("parsed", "is_json_string_field('t', json_field('fields', 'a'), 'a')"),
    "decimal_of_json": ("parsed", "to_decimal(json_field('fields', 'a'), 12, 2)"),
    "integer_of_json": ("parsed", "to_integer(json_field('fields', 'a'))"),
    "to_integer": ("numbers", "to_integer('t')"),
    "to_decimal": ("numbers", "to_decimal('t', 12, 2)"),
    "to_decimal_15_6": ("numbers", "to_decimal('t', 15, 6)"),
    "to_boolean": ("booleans", "to_boolean('t')"),
    "to_timestamp_utc": ("moments", "to_timestamp_utc('t')"),
    "to_date": ("days", "to_date('t')"),
    "to_uuid": ("uuids", "to_uuid('t')"),
    "md5_text": ("texts", "md5_text('t')"),
    "string_literals": ("texts", "join_texts([string_literal('it\\'s \\\\ \"x\"'), 't', 'u'], '\\'|\\\\')"),
    "surrogate_key": ("texts", "surrogate_key(['t', 'u'])"),
    "surrogate_key_of_date": ("dates", "surrogate_key(['d', 'id'])"),
    "join_texts": ("texts", "join_texts(['t', 'u'], ',')"),
    "null_safe_equal": ("texts", "null_safe_equal('t', 'u')"),
    "is_distinct": ("texts", "is_distinct('t', 'u')"),
    "epoch_micros": ("stamps", "epoch_micros('ts')"),
    "from_epoch_micros": ("stamps", "from_epoch_micros(epoch_micros('ts'))"),
    "micros_between": ("stamps", "micros_between('ts', timestamp_literal('2025-01-01 00:00:00'))"),
    "seconds_of": ("stamps", "seconds_of(micros_between('ts', timestamp_literal('2025-01-01 00:00:00')))"),
    "add_seconds": ("stamps", "add_seconds('ts', -90061)"),
    "date_of": ("stamps", "date_of('ts')"),
    "hour_of": ("stamps", "hour_of('ts')"),
    "hour_start": ("stamps", "hour_start('ts')"),
    "day_start": ("dates", "day_start('d')"),
    "month_start": ("dates", "month_start('d')"),
    "week_start": ("dates", "week_start('d')"),
    "year_of": ("dates", "year_of('d')"),
    "quarter_of": ("dates", "quarter_of('d')"),
    "month_of": ("dates", "month_of('d')"),
    "day_of_month": ("dates", "day_of_month('d')"),
    "iso_day_of_week": ("dates", "iso_day_of_week('d')"),
    "iso_week": ("dates", "iso_week('d')"),
    "add_days": ("dates", "add_days('d', 'id - 3')"),
    "days_between": ("dates", "days_between(\"date '2025-01-01'\", 'd')"),
    "day_name": ("dates", "day_name('d')"),
    "month_name": ("dates", "month_name('d')"),
    "decimal_division": ("divisions", "decimal_division('a', 'b', 18, 2)"),
    "decimal_division_6": ("divisions", "decimal_division('a', 'b', 18, 6)"),
    "decimal_division_0": ("divisions", "decimal_division('a', 'b', 18, 0)"),
} | {f"matches_{number}": ("texts", f"matches('t', {pattern!r})") for number, pattern in enumerate(PATTERNS)}
"""Macro calls by name, each over the columns of an input."""

QUERIES = {
    "last_by": "select id % 3 as id, {{ last_by('id', ['t', 'id']) }} as answer from texts where t is not null "
    "group by id % 3 order by id % 3",
    "list_median": "select id, {{ list_median('list') }} as answer from (select id, {{ list_of('n') }} over "
    "(order by id nulls last rows between 5 preceding and 1 preceding) as list from (select id, "
    "case when id % 4 <> 1 then cast(id * 7 % 11 - 4 as decimal(24, 6)) end as n from texts) as numbers) as windows "
    "order by id",
    **{
        name: f"select id, {{{{ {name}({arguments}) }}}} as answer from (select id, count(v) over five as c, "
        "cast(sum(v) over five as bigint) as t, cast(sum(v * v) over five as bigint) as s from (select id, "
        "cast(id * id * 7919 % 1013 * (id % 7) as bigint) as v from texts) as numbers "
        "window five as (order by id nulls last rows between 5 preceding and 1 preceding)) as windows order by id"
        for name, arguments in (("mean_of", "'c', 't'"), ("standard_deviation", "'c', 't', 's'"))
    },
    "count_distinct": "select id % 3 as id, {{ count_distinct('t') }} as answer from texts "
    "group by id % 3 order by id % 3",
    "list_rows": f"with lists as (select id, {{{{ json_items({MEMBER}) }}}} as list "
    " from nested) select id, item_number, item from ({{ list_rows('lists', 'list') }}) as items "
    "where left(item, 1) = 's' order by id, item_number",
    **{
        f"unread_payload{encoding}": f"select id, case {{% set topic = {{'encoding': 'confluent{encoding}'}} %}}"
        "{% for rule, condition in unread_payload(topic).items() %} when {{ condition }} then '{{ rule }}' {% endfor %}"
        " end as answer from payloads order by id"
        for encoding in ("-avro", "-json-schema")
    },
    "date_spine": "{{ date_spine(\"date '2024-02-27'\", \"date '2024-03-02'\") }} order by date_day",
    "date_spine_empty": "{{ date_spine(\"date '2024-03-02'\", \"date '2024-02-27'\") }}",
    "date_spine_one": "{{ date_spine(\"date '2024-03-02'\", \"date '2024-03-02'\") }}",
}


def texts(values: list[str | None], other: list[str | None] | None = None) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(len(values)), pa.int64()),
            "t": pa.array(values, pa.string()),
            "u": pa.array(other or values, pa.string()),
        }
    )


def inputs() -> dict[str, pa.Table]:
    documents: list[str | None] = [*DOCUMENTS, *[text for text, _ in STRINGNESS], *fuzzed_documents(600, seed=7), None]
    decimals = pa.decimal128(30, 4)
    return {
        "documents": texts(documents),
        "nested": texts([f'{{"b":{{"a":["z"]}}, "a":{value}}}' for value in NESTED]),
        "objects": texts([f' {{"a" :{value}, "b":1}}' for value in OBJECTS]),
        "stringness": texts([text for text, _ in STRINGNESS if strict_object(text)]),
        "numbers": texts([*NUMBERS, None]),
        "booleans": texts(["true", "false", "True", "TRUE", " true ", "t", "1", "yes", "", "true\n", None]),
        "moments": texts([*MOMENTS, None]),
        "days": texts([*DAYS, None]),
        "uuids": texts([*UUIDS, None]),
        "texts": texts([*TEXTS, None, None, "x", "a"], [*reversed(TEXTS), None, "", None, "a"]),
        "dates": pa.table({"id": range(len(DATES) + 1), "d": pa.array([*DATES, None], pa.date32())}),
        "stamps": pa.table(
            {"id": range(len(STAMPS) + 1), "ts": pa.array([*STAMPS, None], pa.timestamp("us", tz="UTC"))}
        ),
        "payloads": pa.table({"id": range(len(PAYLOADS)), "payload_bytes": pa.array(PAYLOADS, pa.binary())}),
        "divisions": pa.table(
            {
                "id": range(len(DIVISIONS)),
                "a": pa.array([a and Decimal(a) for a, _ in DIVISIONS], decimals),
                "b": pa.array([b and Decimal(b) for _, b in DIVISIONS], decimals),
            }
        ),
    }


def compiled(target: str, project: Path) -> dict[str, str]:
    """SQL of each query as dbt compiles it for that engine, without touching a database."""
    result = dbtRunner().invoke([
        "--quiet", "compile", "--project-dir", str(project), "--profiles-dir", str(PROJECT_ROOT / "profiles"),
        "--target", target, "--target-path", str(project / target), "--log-path", str(project / "logs"),
        "--no-introspect", "--no-populate-cache", "--no-version-check",
    ])  # fmt: skip
    assert result.success, result.exception
    return {one.node.name: one.node.compiled_code for one in result.result}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, pa.Table]]]:
    """Every query's rows by engine and name."""
    from levain.dev.parity import spark_session

    project = tmp_path_factory.mktemp("portable")
    (project / "models").mkdir()
    (project / "dbt_project.yml").write_text(
        f"name: levain\nconfig-version: 2\nprofile: levain\nmacro-paths: ['{PROJECT_ROOT / 'macros'}']\n"
    )
    for name, (table, expression) in EXPRESSIONS.items():
        more = ", t, u" if name == "parsed" else ""
        alias = "fields" if name == "parsed" else "answer"
        (project / "models" / f"{name}.sql").write_text(
            f"select id{more}, {{{{ {expression} }}}} as {alias} from {table} order by id"
        )
    for name, query in QUERIES.items():
        (project / "models" / f"{name}.sql").write_text(query)

    found: dict[str, dict[str, pa.Table]] = {"duckdb": {}, "spark": {}}
    duck = duckdb.connect()
    duck_sql = compiled("duckdb", project)
    for name, table in inputs().items():
        duck.register(name, table)
    duck.execute("create table parsed as " + duck_sql["parsed"])
    for name, query in duck_sql.items():
        found["duckdb"][name] = duck.sql(query).to_arrow_table()

    session = spark_session(Settings(home=project / "home"))
    spark_sql = compiled("spark", project)
    for name, table in inputs().items():
        session.createDataFrame(table).createOrReplaceTempView(name)
    session.sql(spark_sql["parsed"]).createOrReplaceTempView("parsed")
    for name, query in spark_sql.items():
        found["spark"][name] = session.sql(query).toArrow()
    yield found
    session.stop()


@pytest.fixture
def deep_python() -> Iterator[None]:
    """Python's own reader, the judge of the documents, must get to the bottom of each."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(limit)


def answers(results: dict[str, dict[str, pa.Table]], name: str, engine: str = "duckdb") -> list[Any]:
    return results[engine][name].column("answer").to_pylist()


def plain(kind: pa.DataType) -> pa.DataType:
    """A column's type without what does not matter: large or small offsets, the name of the zone UTC."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, tz="UTC")
    return kind


@pytest.mark.parametrize("name", [*EXPRESSIONS, *QUERIES])
def test_both_engines_agree(results: dict[str, dict[str, pa.Table]], name: str) -> None:
    duck, spark = results["duckdb"][name], results["spark"][name]
    assert len(duck) == len(spark)
    if name != "parsed":
        assert [plain(field.type) for field in duck.schema] == [plain(field.type) for field in spark.schema]
    left, right = duck.to_pylist(), spark.to_pylist()
    if name in ("parsed", "field_a"):  # the text of a number is the engine's own, its value is not
        left, right = (json.loads(json.dumps(rows), object_hook=number_values) for rows in (left, right))
    different = [pair for pair in zip(left, right, strict=True) if pair[0] != pair[1]]
    assert not different, different[:5]


def number_values(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: float(value.strip('"'))
        if key in ("a", "answer", "b", "timestamp") and is_number(value)
        else compact(value)
        for key, value in record.items()
    }


def is_number(text: Any) -> bool:
    try:
        return isinstance(text, str) and text.strip() == text and float(text.strip('"')) is not None
    except ValueError:
        return False


def compact(value: Any) -> Any:
    """A nested value without the blanks and number formats that one engine normalises."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_arrays_become_one_text_and_back(results: dict[str, dict[str, pa.Table]], engine: str) -> None:
    assert answers(results, "array_of_strings", engine) == list(NESTED.values())
    assert answers(results, "array_of_objects", engine) == list(OBJECTS.values())
    for text in [*NESTED.values(), *OBJECTS.values()]:
        if text is not None:
            json.loads(text)
    quoted = answers(results, "to_json_string", engine)
    assert [None if text is None else json.loads(text) for text in quoted] == inputs()["texts"].column("t").to_pylist()


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_a_nested_string_is_known_from_any_other_value(results: dict[str, dict[str, pa.Table]], engine: str) -> None:
    documents = [text for text, _ in STRINGNESS if strict_object(text)]
    found = [(strict_object(text) or {}).get("a") for text in documents]
    assert answers(results, "member_string", engine) == [each if isinstance(each, str) else None for each in found]
    booleans = {True: True, False: False, "true": True, "false": False}
    known = [booleans.get(each) if isinstance(each, bool | str) else None for each in found]
    assert answers(results, "member_boolean", engine) == known


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_documents_are_read_as_strictly_as_the_standard(
    results: dict[str, dict[str, pa.Table]], engine: str, deep_python: None
) -> None:
    documents = inputs()["documents"].column("t").to_pylist()
    beyond = {text for text in documents if text and ("9" * 1000 in text or "[" * 999 in text)}
    accepted = 0
    for text, fields in zip(documents, results[engine]["parsed"].column("fields").to_pylist(), strict=True):
        expected = None if text is None or text in beyond else strict_object(text)
        assert (fields is None) == (expected is None), text
        if fields is None or expected is None:
            continue
        accepted += 1
        for name in FIELDS:
            value = expected.get(name)
            match value:
                case str() | None:
                    assert fields[name] == value, text
                case bool():
                    assert fields[name] == str(value).lower(), text
                case int() | float():
                    assert fields[name].strip('"') == str(value) or float(fields[name].strip('"')) == float(value), text
                case _:
                    assert fields[name][0] in "[{", text
    assert accepted > 100 and len(documents) - accepted > 300


def test_string_fields_are_known_from_other_values(results: dict[str, dict[str, pa.Table]]) -> None:
    found = answers(results, "stringness")[len(DOCUMENTS) : len(DOCUMENTS) + len(STRINGNESS)]
    assert dict(zip([text for text, _ in STRINGNESS], found, strict=True)) == dict(STRINGNESS)


def test_payloads_without_a_text(results: dict[str, dict[str, pa.Table]]) -> None:
    for place, encoding in enumerate(("-avro", "-json-schema")):
        assert answers(results, f"unread_payload{encoding}") == [names[place] for names in PAYLOADS.values()]


def test_numbers(results: dict[str, dict[str, pa.Table]]) -> None:
    integers = dict(zip(NUMBERS, answers(results, "to_integer"), strict=False))
    assert {text: value for text, value in integers.items() if value is not None} == {
        "0": 0, "-0": 0, "7": 7, "007": 7, "-12": -12, "10000000000": 10**10, "2147483648": 2**31,
        "999999999999999999": 10**18 - 1, "-999999999999999999": 1 - 10**18,
    }  # fmt: skip
    decimals = dict(zip(NUMBERS, answers(results, "to_decimal"), strict=False))
    assert {text: str(value) for text, value in decimals.items() if value is not None} == {
        "0": "0.00", "-0": "0.00", "7": "7.00", "007": "7.00", "-12": "-12.00", "12.5": "12.50", "12.50": "12.50",
        "12.500": "12.50",
        "-0.01": "-0.01", "1e3": "1000.00", "1E+3": "1000.00", "1.5e1": "15.00", "1e-2": "0.01", "1e-400": "0.00",
        "9999999999.99": "9999999999.99",
        "0.1": "0.10", "0.10": "0.10", "123456.78": "123456.78", "4503599627.37": "4503599627.37",
        "2147483648": "2147483648.00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"), [("to_timestamp_utc", MOMENTS), ("to_date", DAYS), ("to_uuid", UUIDS)]
)  # fmt: skip
def test_texts_become_values_or_null(
    results: dict[str, dict[str, pa.Table]], name: str, expected: dict[str, Any]
) -> None:
    assert dict(zip([*expected, None], answers(results, name), strict=True)) == expected | {None: None}


def test_booleans(results: dict[str, dict[str, pa.Table]]) -> None:
    assert answers(results, "to_boolean") == [True, False, *[None] * 9]


def test_patterns(results: dict[str, dict[str, pa.Table]]) -> None:
    for number, pattern in enumerate(PATTERNS):
        whole = pattern[:-1] + r"\Z" if pattern.endswith("$") and not pattern.endswith("\\$") else pattern
        expected = [bool(re.search(whole, text, re.ASCII)) for text in TEXTS]
        assert answers(results, f"matches_{number}")[: len(TEXTS)] == expected, pattern


@pytest.mark.parametrize(
    ("name", "scale"), [("decimal_division", 2), ("decimal_division_6", 6), ("decimal_division_0", 0)]
)
def test_division_rounds_half_away_from_zero(results: dict[str, dict[str, pa.Table]], name: str, scale: int) -> None:
    with localcontext(prec=60):
        expected = [
            None
            if a is None or b is None or b == "0"
            else (Decimal(a) / Decimal(b)).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
            for a, b in DIVISIONS
        ]
    assert dict(zip(DIVISIONS, answers(results, name), strict=True)) == dict(zip(DIVISIONS, expected, strict=True))


def test_calendar(results: dict[str, dict[str, pa.Table]]) -> None:
    for name, of in {
        "iso_day_of_week": date.isoweekday,
        "iso_week": lambda day: day.isocalendar().week,
        "day_name": lambda day: day.strftime("%A"),
        "month_name": lambda day: day.strftime("%B"),
        "month_start": lambda day: day.replace(day=1),
        "week_start": lambda day: day - timedelta(days=day.weekday()),
    }.items():
        assert answers(results, name) == [*map(of, DATES), None], name
    for name, of_stamp in {
        "hour_of": lambda ts: ts.hour,
        "date_of": lambda ts: ts.date(),
        "hour_start": lambda ts: ts.replace(minute=0, second=0, microsecond=0),
    }.items():
        assert answers(results, name) == [*map(of_stamp, STAMPS), None], name


def test_the_last_of_a_group_is_by_each_key_in_turn(results: dict[str, dict[str, pa.Table]]) -> None:
    rows = [
        (text.encode(), number)
        for number, text in enumerate(inputs()["texts"].column("t").to_pylist())
        if text is not None
    ]
    expected = [max(row for row in rows if row[1] % 3 == group)[1] for group in range(3)]
    assert answers(results, "last_by") == expected


def test_a_median_is_of_the_values_that_are_there(results: dict[str, dict[str, pa.Table]]) -> None:
    numbers = [None if number % 4 == 1 else Decimal(number * 7 % 11 - 4) for number in range(len(inputs()["texts"]))]
    before = [[n for n in numbers[max(place - 5, 0) : place] if n is not None] for place in range(len(numbers))]
    assert answers(results, "list_median") == [median(values) if values else None for values in before]
    rows = [(number % 3, text) for number, text in enumerate(inputs()["texts"].column("t").to_pylist())]
    there = [len({text for third, text in rows if third == each and text is not None}) for each in range(3)]
    assert answers(results, "count_distinct") == there


def test_means_and_deviations_are_rounded_to_the_same_digit(results: dict[str, dict[str, pa.Table]]) -> None:
    numbers = [number * number * 7919 % 1013 * (number % 7) for number in range(len(inputs()["texts"]))]
    before = [numbers[max(place - 5, 0) : place] for place in range(len(numbers))]
    assert answers(results, "mean_of") == [
        (Decimal(sum(values)) / len(values)).quantize(Decimal("0.0001"), ROUND_HALF_UP) if values else None
        for values in before
    ]
    assert answers(results, "standard_deviation") == [
        Decimal(stdev(values)).quantize(Decimal("0.01"), ROUND_HALF_UP) if len(values) > 1 else None
        for values in before
    ]


def test_hashes(results: dict[str, dict[str, pa.Table]]) -> None:
    assert answers(results, "md5_text")[: len(TEXTS)] == [md5(text.encode()).hexdigest() for text in TEXTS]
    keys = answers(results, "surrogate_key")
    assert None not in keys and len(set(keys)) == len(keys)
