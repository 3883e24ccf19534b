"""Faults put into sample events on purpose, each with the verdict it must get.

What a message is worth is written down here by hand, beside the fault, and never found by checking the message: the
warehouse's rules are judged by it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ingest.contracts import Contract
from ingest.errors import BadInput
from ingest.jsontext import JsonText, json_object, json_timestamp, utc
from ingest.sources.publish import RECEIVED_AT
from levain.samples.events.run import Event

VERDICTS = ("accepted", "duplicate", "conflict", "rejected", "held")
SLACK = timedelta(seconds=10)
"""No source sends an event more than this before one it received earlier."""


@dataclass(slots=True)
class Message:
    """A Kafka message, and what must become of it.

    Attributes:
        key: None: no key.
        value: None: a tombstone.
        received: simulated time of receipt (UTC), also in the header `received-at`.
        verdict: one of `VERDICTS`.
        rules: what it fails or is held for, in the order they are listed.
        fault: name of the fault it carries; empty: none. Of two copies, the later one carries it.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    received: datetime
    verdict: str = "accepted"
    rules: tuple[str, ...] = ()
    fault: str = ""


Variant = Callable[["Make", Event], list[Message]]


class Make:
    """Messages from events, for the variants of a fault."""

    def __init__(self, contract: Contract, rng: random.Random, fault: str = "") -> None:
        self.contract, self.rng, self.fault = contract, rng, fault

    def message(self, event: Event, verdict: str = "accepted", *rules: str) -> Message:
        """The event as it is."""
        return self.raw(event, json_object(event.fields).encode(), verdict, *rules)

    def raw(self, event: Event, value: bytes | None, verdict: str, *rules: str) -> Message:
        """Any payload under the event's key, with its headers."""
        key = event.fields.get(self.contract.key)
        received = json_timestamp(event.received).encode()
        return Message(
            topic=self.contract.topic,
            key=None if key is None else str(key).encode(),
            value=value,
            headers=[(RECEIVED_AT, received), *event.headers],
            received=event.received,
            verdict=verdict,
            rules=rules,
            fault=self.fault,
        )

    def changed(self, event: Event, changes: Mapping[str, Any], verdict: str, *rules: str) -> Message:
        """The event with fields set, or left out where the change is `ABSENT`. The key stays what it was.

        A change that is a function is called with the fields as they were.
        """
        new = {name: value(event.fields) if callable(value) else value for name, value in changes.items()}
        fields = {name: value for name, value in (event.fields | new).items() if value is not ABSENT}
        return self.raw(event, json_object(fields).encode(), verdict, *rules)

    def later(self, event: Event, least: timedelta, most: timedelta) -> Event:
        """The same event, received again or only later, by a random time."""
        return replace(event, received=event.received + least + (most - least) * self.rng.random())

    def first(self, event: Event) -> Message:
        """The original of a copy: without fault."""
        return replace(self.message(event), fault="")


ABSENT = object()


def duplicate(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(seconds=2), timedelta(hours=20))
    return [make.first(event), make.message(again, "duplicate")]


def conflict(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(seconds=2), timedelta(hours=20))
    changes = _CONFLICTS.get(make.contract.topic, {_EXTRA: "other"})
    return [make.first(event), make.changed(again, changes, "conflict")]


def late_copy(make: Make, event: Event) -> list[Message]:
    """A copy that arrives when it is too late for any copy: held like any message of that age, not duplicate."""
    again = make.later(event, timedelta(hours=50), timedelta(hours=120))
    return [make.first(event), make.message(again, "held", "event_too_late")]


def out_of_order(make: Make, event: Event) -> list[Message]:
    return [make.message(make.later(event, timedelta(minutes=1), timedelta(minutes=50)))]


def late(make: Make, event: Event) -> list[Message]:
    return [make.message(make.later(event, timedelta(hours=1), timedelta(hours=40)))]


def too_late(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(hours=49), timedelta(hours=240))
    return [make.message(again, "held", "event_too_late")]


def future(make: Make, event: Event) -> list[Message]:
    name = make.contract.event_time
    lag = event.received - utc(event.fields[name])
    ahead = timedelta(minutes=make.rng.randint(15, 60 * 24 * 20))
    return [make.changed(event, {name: event.fields[name] + lag + ahead}, "held", "event_in_future")]


def tombstone(make: Make, event: Event) -> list[Message]:
    return [make.raw(event, None, "rejected", "message_tombstone")]


def extra_field(make: Make, event: Event) -> list[Message]:
    return [make.changed(event, {_EXTRA: "till 2, version 4.1"}, "accepted")]


def payload(change: Callable[[str], bytes], rule: str) -> Variant:
    """A payload that is not a JSON object in UTF-8, made from the text of the event's."""

    def variant(make: Make, event: Event) -> list[Message]:
        return [make.raw(event, change(json_object(event.fields)), "rejected", rule)]

    return variant


def fields(changes: Mapping[str, Any], verdict: str, *rules: str, key: str | None = None) -> Variant:
    """Fields with other values; `key`: the message's key, where it follows the changed field."""

    def variant(make: Make, event: Event) -> list[Message]:
        message = make.changed(event, changes, verdict, *rules)
        return [message if key is None else replace(message, key=key.encode())]

    return variant


def missing(*names: str, null: bool = False) -> Variant:
    """Required fields left out or null."""
    changes = dict.fromkeys(names, None if null else ABSENT)
    return fields(changes, "rejected", *(f"{name}_missing" for name in names))


def missing_first(make: Make, event: Event) -> list[Message]:
    """The first required field that is neither identity nor time, for topics that have no variants of their own."""
    contract, special = make.contract, (make.contract.identity, make.contract.event_time)
    names = [each.name for each in contract.members if each.required and each.name not in special]
    name = (names or [contract.event_time])[0]
    rules = [f"{name}_missing"]
    present = [each for each in contract.columns if each.value_in(event.fields) is not None and each.path[0] != name]
    optional = any(not each.required for each in contract.fields)
    weights = [sum(each.weight for each in fields) for fields in (present, contract.columns)]
    if optional and 100 * weights[0] < contract.minimum_completeness * weights[1]:
        rules.append("incomplete")
    return [make.changed(event, {name: ABSENT}, "rejected", *rules)]


_EXTRA = "source_info"
_CONFLICTS: dict[str, Mapping[str, Any]] = {
    "sales-events": {"quantity": lambda fields: fields["quantity"] + 1},
    "ventes_stream": {
        "quantite": lambda fields: fields["quantite"] + 1,
        "montant": lambda fields: fields["montant"] / fields["quantite"] * (fields["quantite"] + 1),
    },
    "product-changes": {"base_price": lambda fields: fields["base_price"] + Decimal("0.10")},
    "store-extracts": {"size_m2": lambda fields: fields["size_m2"] + 1},
    "customer-changes": {"is_member": lambda fields: not fields["is_member"]},
    "promotions": {"discount_value": lambda fields: fields["discount_value"] + 1},
    "inventory-updates": {"quantity": lambda fields: fields["quantity"] + (-1 if fields["quantity"] < 0 else 1)},
    "equipment-metrics": {"cycles": lambda fields: fields["cycles"] + 1},
    "customer-feedback": {"rating": lambda fields: fields["rating"] % 5 + 1},
    "purchases": {
        "quantity": lambda fields: fields["quantity"] + 1,
        "total_amount": lambda fields: (fields["quantity"] + 1) * fields["unit_price"],
    },
    "web-events": {"page": lambda fields: f"{fields['page']}?retry=1"},
}
_FORTY_DIGITS = JsonText("1234567890123456789012345678901234567890.12")
_NONE = {"discount_amount": Decimal("0.00"), "promotion_id": ABSENT}


def _invalid(name: str, value: Any) -> Variant:
    return fields({name: value}, "rejected", f"{name}_invalid")


def _not_json(name: str, token: str) -> Variant:
    """A bare NaN or Infinity, as some producers write it: RFC 8259 has no such token, so the payload is not JSON."""
    return fields({name: JsonText(token)}, "rejected", "message_malformed")


_MALFORMED = (
    payload(lambda text: text[: len(text) // 2].encode(), "message_malformed"),
    payload(lambda text: b"ERROR till 2: paper jam", "message_malformed"),
    payload(lambda text: f"[{text}]".encode(), "message_malformed"),
    payload(lambda text: b"", "message_malformed"),
)
_NOT_UTF8 = (
    payload(lambda text: (text[:-1] + ', "caissier": "Hélène"}').encode("latin-1", "replace"), "message_not_utf8"),
    payload(lambda text: b"\xff\xfe" + text.encode("utf-16-le"), "message_not_utf8"),
)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        rate: part of a topic's messages that carry it.
        variants: topic -> its forms, taken in turn; `*`: of any other topic. The first topic named that is in a run
            is its home there.
        extra: messages it adds beside the event's own.
    """

    rate: float
    variants: Mapping[str, Sequence[Variant]]
    extra: int = 0

    def of(self, topic: str) -> Sequence[Variant]:
        return self.variants.get(topic, self.variants.get("*", ()))


def _everywhere(*variants: Variant) -> dict[str, Sequence[Variant]]:
    return {"sales-events": variants, "*": variants}


FAULTS: dict[str, Fault] = {
    "duplicates": Fault(0.008, _everywhere(duplicate), extra=1),
    "conflicts": Fault(0.003, _everywhere(conflict), extra=1),
    "late-copies": Fault(0.002, _everywhere(late_copy), extra=1),
    "out-of-order": Fault(0.010, _everywhere(out_of_order)),
    "late": Fault(0.008, _everywhere(late)),
    "too-late": Fault(0.003, _everywhere(too_late)),
    "future": Fault(0.002, _everywhere(future)),
    "malformed": Fault(0.003, _everywhere(*_MALFORMED)),
    "not-utf8": Fault(0.002, _everywhere(*_NOT_UTF8)),
    "tombstones": Fault(0.002, _everywhere(tombstone)),
    # The marketplace's sales have exactly eleven fields.
    "extra-fields": Fault(0.003, {"sales-events": (extra_field,), "ventes_stream": (), "*": (extra_field,)}),
    "missing-fields": Fault(
        0.003,
        {
            "sales-events": (
                missing("product_id"),
                missing("event_id"),
                missing("unit_price", null=True),
                missing("event_time", null=True),
                missing("store_id"),
                fields(
                    dict.fromkeys(
                        ("receipt_id", "line_number", "promotion_id", "customer_id", "payment_method"), ABSENT
                    ),
                    *("rejected", "receipt_id_missing", "line_number_missing", "payment_method_missing", "incomplete"),
                ),
            ),
            "ventes_stream": (missing("montant"), missing("client_nom", null=True), missing("vente_id", "segment")),
            "product-changes": (missing("base_price"), missing("valid_from", null=True)),
            "store-extracts": (missing("manager"), missing("city", "country", null=True)),
            "customer-changes": (missing("email"), missing("name", "segment", null=True)),
            "promotions": (missing("name"), missing("discount_type", "discount_value"), missing("ends_at", null=True)),
            "inventory-updates": (missing("quantity"), missing("movement_type", null=True), missing("product_id")),
            "equipment-metrics": (
                missing("status"),
                missing("temperature_c", null=True),
                missing("vibration_mm_s", "power_kw"),
            ),
            "customer-feedback": (
                missing("store_id"),
                missing("rating", "language", null=True),
                missing("answers"),
                # A missing member is named after its object or its array.
                fields({"visit": {"receipt_id": "S001-260105-00000001"}}, "rejected", "visit_visited_on_missing"),
                fields(
                    {"answers": [{"question": "taste", "rating": 4}, {"question": "price"}]},
                    *("rejected", "answers_rating_missing"),
                ),
            ),
            "purchases": (
                missing("product_id"),
                missing("is_member", "total_amount"),
                missing("ip_country", null=True),
                missing("device"),
                fields({"attributes": [{"value": "thin"}]}, "rejected", "attributes_name_missing"),
            ),
            "web-events": (
                missing("session_id"),
                missing("device"),
                missing("event_type", null=True),
                fields({"device": {"os": "iOS", "browser": "Safari"}}, "rejected", "device_type_missing"),
                fields(
                    {"cart": [{"product_id": "P001", "quantity": 2}, {"quantity": 1, "unit_price": Decimal("3.20")}]},
                    *("rejected", "cart_product_id_missing", "cart_unit_price_missing"),
                ),
            ),
            "*": (missing_first,),
        },
    ),
    "wrong-types": Fault(
        0.003,
        {
            "sales-events": (
                _invalid("quantity", "trois"),
                _invalid("quantity", JsonText("1.5")),
                _invalid("store_id", 1),
                _invalid("unit_price", {"amount": "1.30", "currency": "EUR"}),
                _invalid("event_time", "hier matin"),
                _invalid("event_time", "2026-02-30T08:15:00Z"),
                _invalid("event_id", "till-2-000417"),
                fields(
                    {"line_number": "une", "product_id": 7},
                    *("rejected", "line_number_invalid", "product_id_invalid"),
                ),
            ),
            "ventes_stream": (
                _invalid("quantite", "deux"),
                _invalid("timestamp", "lundi 10h"),
                _invalid("client_nom", 4),
            ),
            "product-changes": (_invalid("is_active", "peut-être"), _invalid("valid_from", "bientôt")),
            "store-extracts": (_invalid("size_m2", "grand"), _invalid("opened_on", "2017-13-01")),
            "customer-changes": (_invalid("is_member", "oui"), _invalid("signed_up_at", "2019")),
            "promotions": (_invalid("discount_value", "10 %"), _invalid("starts_at", "lundi")),
            "inventory-updates": (
                _invalid("quantity", "douze"),
                _invalid("quantity", JsonText("2.5")),
                _invalid("store_id", 3),
                # Without a lot, which a date of expiry must have.
                fields({"lot_id": ABSENT, "expires_on": "2026-02-30"}, "rejected", "expires_on_invalid"),
            ),
            "equipment-metrics": (
                _invalid("temperature_c", "chaud"),
                _invalid("cycles", JsonText("12.5")),
                _invalid("power_kw", {"value": "2.310", "unit": "kW"}),
                _invalid("event_time", "1767600000"),
            ),
            "customer-feedback": (
                _invalid("rating", "quatre"),
                _invalid("visit", "hier"),
                _invalid("answers", {"taste": 5, "price": 3}),
                _invalid("answers", ["taste", 5]),
                _invalid("tags", ["fresh", 4]),
                fields({"visit": {"visited_on": "05/01/2026"}}, "rejected", "visit_visited_on_invalid"),
                fields(
                    {"answers": [{"question": "taste", "rating": "très bien"}, {"question": "price", "rating": 3}]},
                    *("rejected", "answers_rating_invalid"),
                ),
            ),
            "purchases": (
                _invalid("quantity", "une douzaine"),
                _invalid("unit_price", {"amount": "3.20", "currency": "EUR"}),
                _invalid("is_member", "oui"),
                _invalid("device", 17),
                _invalid("attributes", {"slicing": "thin"}),
                _invalid("attributes", ["thin"]),
                fields({"attributes": [{"name": "slicing", "value": 8}]}, "rejected", "attributes_value_invalid"),
            ),
            "web-events": (
                _invalid("device", "mobile"),
                _invalid("device", ["mobile", "iOS"]),
                _invalid("cart", {"P001": 2}),
                _invalid("page", 404),
                _invalid("event_time", "1767600000"),
                fields(
                    {"device": {"type": "mobile", "viewport_width": "narrow"}},
                    *("rejected", "device_viewport_width_invalid"),
                ),
                fields(
                    {"cart": [{"product_id": 1, "quantity": "two", "unit_price": Decimal("3.20")}]},
                    *("rejected", "cart_product_id_invalid", "cart_quantity_invalid"),
                ),
            ),
        },
    ),
    "numbers-as-text": Fault(
        0.002,
        {
            "sales-events": (
                fields(
                    {"quantity": lambda f: str(f["quantity"]), "unit_price": lambda f: str(f["unit_price"])}, "accepted"
                ),
            ),
            "ventes_stream": (fields({"montant": lambda f: str(f["montant"])}, "accepted"),),
            "inventory-updates": (fields({"quantity": lambda f: str(f["quantity"])}, "accepted"),),
            "equipment-metrics": (
                fields(
                    {"temperature_c": lambda f: str(f["temperature_c"]), "cycles": lambda f: str(f["cycles"])},
                    "accepted",
                ),
            ),
            "customer-feedback": (
                fields(
                    {"rating": lambda f: str(f["rating"]), "answers": [{"question": "service", "rating": "5"}]},
                    "accepted",
                ),
            ),
            "purchases": (
                fields(
                    {"quantity": lambda f: str(f["quantity"]), "total_amount": lambda f: str(f["total_amount"])},
                    "accepted",
                ),
            ),
            "web-events": (
                fields({"device": {"type": "tablet", "viewport_width": "820"}}, "accepted"),
                fields({"cart": [{"product_id": "P001", "quantity": "2", "unit_price": "1.30"}]}, "accepted"),
            ),
        },
    ),
    "broken-rules": Fault(
        0.004,
        {
            "sales-events": (
                # A rule over a number that is beyond its limits does not fail as well.
                fields({"quantity": -2, **_NONE}, "rejected", "quantity_out_of_range"),
                fields({"quantity": 0, **_NONE}, "rejected", "quantity_out_of_range"),
                fields({"quantity": 3760130321109}, "rejected", "quantity_out_of_range"),
                fields({"unit_price": Decimal("-1.30"), **_NONE}, "rejected", "unit_price_out_of_range"),
                fields(
                    {"discount_amount": lambda f: f["quantity"] * f["unit_price"] + Decimal("0.01")},
                    *("rejected", "discount_within_gross"),
                ),
                fields({"discount_amount": Decimal("-0.50")}, "rejected", "discount_amount_out_of_range"),
                fields({"payment_method": "cheque"}, "rejected", "payment_method_not_allowed"),
                fields({"line_number": 0}, "rejected", "line_number_out_of_range"),
                fields(
                    {"line_number": 0, "payment_method": "CARD"},
                    *("rejected", "line_number_out_of_range", "payment_method_not_allowed"),
                ),
            ),
            "ventes_stream": (
                fields({"montant": Decimal("-25.50")}, "rejected", "montant_out_of_range"),
                fields({"quantite": 0}, "rejected", "quantite_out_of_range"),
                fields({"quantite": 3760130321109}, "rejected", "quantite_out_of_range"),
                fields({"segment": "Entreprise"}, "rejected", "segment_not_allowed"),
            ),
            "product-changes": (fields({"base_price": Decimal("-0.10")}, "rejected", "base_price_out_of_range"),),
            "store-extracts": (
                fields({"latitude": Decimal("488.53291")}, "rejected", "latitude_out_of_range"),
                fields({"country": "France"}, "rejected", "country_malformed"),
            ),
            "customer-changes": (
                fields({"email": "inconnue"}, "rejected", "email_malformed"),
                fields({"segment": "famille"}, "rejected", "segment_not_allowed"),
                fields(
                    {"country": "fr", "valid_from": lambda f: f["signed_up_at"] - timedelta(days=1)},
                    *("rejected", "country_malformed", "valid_after_sign_up"),
                ),
            ),
            "promotions": (
                fields({"ends_at": lambda f: f["starts_at"]}, "rejected", "ends_after_start"),
                fields(
                    {"discount_type": "percentage", "discount_value": Decimal("110")},
                    *("rejected", "percentage_within_100"),
                ),
                fields({"discount_value": 0}, "rejected", "discount_value_out_of_range"),
                fields({"product_id": "P003", "category": "bread"}, "rejected", "one_target"),
            ),
            "inventory-updates": (
                fields({"movement_type": "sale", "quantity": 3}, "rejected", "outbound_is_negative"),
                fields({"movement_type": "waste", "quantity": 0}, "rejected", "outbound_is_negative"),
                fields({"movement_type": "production", "quantity": -12}, "rejected", "inbound_is_positive"),
                fields({"movement_type": "stocktake", "quantity": -1}, "rejected", "count_not_negative"),
                fields({"movement_type": "theft"}, "rejected", "movement_type_not_allowed"),
                fields({"quantity": 3760130321109}, "rejected", "quantity_out_of_range"),
                fields({"lot_id": ABSENT, "expires_on": "2026-01-31"}, "rejected", "expiry_has_lot"),
            ),
            "equipment-metrics": (
                fields({"vibration_mm_s": Decimal("-0.40")}, "rejected", "vibration_mm_s_out_of_range"),
                fields({"temperature_c": Decimal("2400.0")}, "rejected", "temperature_c_out_of_range"),
                fields({"cycles": -1}, "rejected", "cycles_out_of_range"),
                fields({"status": "broken", "error_code": ABSENT}, "rejected", "status_not_allowed"),
                fields({"status": "fault", "error_code": ABSENT}, "rejected", "fault_has_error"),
                fields({"status": "running", "error_code": "OV-112"}, "rejected", "error_only_when_down"),
                fields({"status": "fault", "error_code": "12"}, "rejected", "error_code_malformed"),
            ),
            "customer-feedback": (
                fields({"rating": 0}, "rejected", "rating_out_of_range"),
                fields({"channel": "phone"}, "rejected", "channel_not_allowed"),
                fields({"language": "FR"}, "rejected", "language_malformed"),
                fields({"visit": {"visited_on": "0026-01-05"}}, "rejected", "visit_visited_on_out_of_range"),
                fields({"answers": [{"question": "taste", "rating": 6}]}, "rejected", "answers_rating_out_of_range"),
                fields(
                    {"answers": [{"question": "parking", "rating": 6}]},
                    *("rejected", "answers_question_not_allowed", "answers_rating_out_of_range"),
                ),
                fields(
                    {"answers": [{"question": "taste", "rating": 4}] * 21, "tags": ["fresh", "Very Fresh!"]},
                    *("rejected", "answers_count_out_of_range", "tags_malformed"),
                ),
            ),
            "purchases": (
                fields(
                    {"total_amount": lambda f: f["total_amount"] + Decimal("0.01")},
                    *("rejected", "total_is_quantity_times_price"),
                ),
                # A rule over a number that is beyond its limits does not fail as well.
                fields({"quantity": 0}, "rejected", "quantity_out_of_range"),
                fields({"unit_price": Decimal("-3.20")}, "rejected", "unit_price_out_of_range"),
                fields({"payment_method": "CARD"}, "rejected", "payment_method_not_allowed"),
                fields(
                    {"card_country": "France", "ship_country": "fr"},
                    *("rejected", "card_country_malformed", "ship_country_malformed"),
                ),
                fields(
                    {"attributes": [{"name": "engraving", "value": "Léa"}]}, "rejected", "attributes_name_not_allowed"
                ),
                fields(
                    {"attributes": [{"name": "slicing", "value": "thin"}] * 21},
                    *("rejected", "attributes_count_out_of_range"),
                ),
            ),
            "web-events": (
                fields({"event_type": "purchased"}, "rejected", "event_type_not_allowed"),
                fields(
                    {"event_type": "product_view", "product_id": ABSENT, "quantity": ABSENT},
                    *("rejected", "product_is_named"),
                ),
                fields(
                    {"event_type": "page_view", "product_id": None, "quantity": 2}, "rejected", "quantity_has_product"
                ),
                fields({"product_id": "P001", "quantity": 0}, "rejected", "quantity_out_of_range"),
                fields({"device": {"type": "fridge"}}, "rejected", "device_type_not_allowed"),
                fields(
                    {"device": {"type": "desktop", "viewport_width": 0}},
                    *("rejected", "device_viewport_width_out_of_range"),
                ),
                fields(
                    {"cart": [{"product_id": "P001", "quantity": 0, "unit_price": Decimal("-1.30")}]},
                    *("rejected", "cart_quantity_out_of_range", "cart_unit_price_out_of_range"),
                ),
            ),
        },
    ),
    "impossible-amounts": Fault(
        0.003,
        {
            "sales-events": (
                _not_json("unit_price", "NaN"),
                _not_json("unit_price", "Infinity"),
                _not_json("discount_amount", "-Infinity"),
                _invalid("unit_price", "NaN"),
                _invalid("unit_price", _FORTY_DIGITS),
                _invalid("unit_price", JsonText("1.305")),
            ),
            "ventes_stream": (_not_json("montant", "NaN"), _invalid("montant", _FORTY_DIGITS)),
            "product-changes": (_not_json("unit_cost", "Infinity"),),
            "equipment-metrics": (
                _not_json("temperature_c", "NaN"),
                _invalid("power_kw", "Infinity"),
                _invalid("vibration_mm_s", JsonText("1.234")),
            ),
            "customer-feedback": (
                _not_json("rating", "NaN"),
                fields(
                    {"answers": [{"question": "price", "rating": JsonText("4.5")}]},
                    *("rejected", "answers_rating_invalid"),
                ),
            ),
            "purchases": (
                _not_json("total_amount", "NaN"),
                _invalid("total_amount", _FORTY_DIGITS),
                _invalid("unit_price", JsonText("3.205")),
            ),
            "web-events": (
                fields(
                    {"cart": [{"product_id": "P001", "quantity": 1, "unit_price": JsonText("NaN")}]},
                    *("rejected", "message_malformed"),
                ),
                fields(
                    {"cart": [{"product_id": "P001", "quantity": 1, "unit_price": JsonText("1.305")}]},
                    *("rejected", "cart_unit_price_invalid"),
                ),
            ),
        },
    ),
    "unknown-references": Fault(
        0.004,
        {
            "ventes_stream": (
                fields({"client_id": 99}, "held", "client_id_unknown", key="99"),
                fields({"produit_id": 999}, "held", "produit_id_unknown"),
                fields(
                    {"client_id": 98, "produit_id": 998}, "held", "client_id_unknown", "produit_id_unknown", key="98"
                ),
            ),
            "sales-events": (
                fields({"product_id": "P999"}, "accepted"),
                fields({"store_id": "S999"}, "accepted", key="S999"),
            ),
            "inventory-updates": (
                fields({"product_id": "P999"}, "accepted"),
                fields({"store_id": "S999"}, "accepted", key="S999"),
            ),
            "equipment-metrics": (
                fields({"equipment_id": "E999"}, "accepted", key="E999"),
                fields({"store_id": "S999"}, "accepted"),
            ),
            "promotions": (fields({"product_id": "P999", "category": ABSENT}, "accepted"),),
            "customer-feedback": (
                fields({"product_id": "P999"}, "accepted"),
                fields({"store_id": "S999"}, "accepted", key="S999"),
            ),
            "purchases": (
                fields({"product_id": "P999"}, "accepted"),
                fields({"customer_id": "C99999"}, "accepted", key="C99999"),
            ),
            "web-events": (fields({"event_type": "product_view", "product_id": "P999"}, "accepted"),),
        },
    ),
}

ENOUGH = 200
"""Messages from which on a topic holds every form of the faults it is home to."""


def profile(name: str) -> tuple[str, ...]:
    """Faults of a profile: `none`, `all`, or the name of one fault.

    Raises:
        BadInput: there is no such profile; the valid ones are named.
    """
    if name == "none":
        return ()
    if name == "all":
        return tuple(FAULTS)
    if name in FAULTS:
        return (name,)
    raise BadInput(f"There is no fault profile '{name}'.", f"Valid profiles: none, all, {', '.join(FAULTS)}.")


def homes(names: Iterable[str], topics: Sequence[str]) -> dict[str, str]:
    """Fault -> the topic that gets each of its forms at least once; a fault that fits no topic is left out.

    Args:
        names: of the faults.
        topics: of the run, the largest first.
    """
    found = {}
    for name in names:
        named = [topic for topic in FAULTS[name].variants if topic in topics]
        able = [topic for topic in (*named, *topics) if FAULTS[name].of(topic)]
        if able:
            found[name] = able[0]
    return found


@dataclass
class Plan:
    """The faults that a topic gets, which are taken out at random, one by one.

    Attributes:
        left: fault and form -> how many of it are left.
    """

    left: dict[tuple[str, Variant], int]

    def __len__(self) -> int:
        return sum(self.left.values())

    @property
    def extras(self) -> int:
        """Messages these faults add beside the events' own."""
        return sum(FAULTS[name].extra * number for (name, _), number in self.left.items())

    def take(self, rng: random.Random) -> tuple[str, Variant]:
        """One of them, of which there is one less then."""
        (each,) = rng.sample([*self.left], 1, counts=[*self.left.values()])
        self.left[each] -= 1
        return each


def plan(home_of: Mapping[str, str], topic: str, count: int, rng: random.Random) -> Plan:
    """The faults that a topic of about so many messages gets.

    A fault's home gets each of its forms; elsewhere the rates decide, so a topic of some tens of messages gets few.
    """
    chosen = Counter[tuple[str, Variant]]()
    owed = rng.random()
    for name, home in home_of.items():
        variants = FAULTS[name].of(topic)
        if not variants:
            continue
        owed += FAULTS[name].rate * count
        number = int(owed)
        owed -= number
        if topic == home:
            number = max(number, len(variants) if count >= ENOUGH else 1)
        start = rng.randrange(len(variants)) if number < len(variants) else 0
        for place, variant in enumerate(variants):
            if times := (number - (place - start) % len(variants) - 1) // len(variants) + 1:
                chosen[name, variant] += times
    return Plan(dict(chosen))


def inject(
    contract: Contract,
    events: Iterator[Event],
    count: int,
    protected: int,
    faults: Plan,
    rng: random.Random,
) -> Iterator[Message]:
    """Messages of the events, in the order they are received, with each fault on an event of its own.

    Args:
        contract: of the topic.
        events: in about the order they are received (`SLACK`).
        count: how many events there are.
        protected: how many of the first stay without fault, because others rest on them.
        faults: as many as there are unprotected events, at most.
        rng: chooses the events.
    """
    planned, plain = len(faults), Make(contract, rng)
    waiting: list[tuple[datetime, int, Message]] = []
    serial = 0
    for number, event in enumerate(events):
        # Each event that is left is as likely as any other to carry one of the faults that are left.
        if number >= protected and planned and rng.random() * (count - number) < planned:
            planned -= 1
            name, variant = faults.take(rng)
            messages = variant(Make(contract, rng, name), event)
        else:
            messages = [plain.message(event)]
        for message in messages:
            heapq.heappush(waiting, (message.received, serial, message))
            serial += 1
        while waiting and waiting[0][0] < event.received - SLACK:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
