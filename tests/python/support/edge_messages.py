"""Messages at the edges of their contracts, written by hand: what each must become, on both engines.

A case is one message, or a few that belong together, in the order they land. Every case has its own event ids, so all
of them are landed together, and with other messages. To add one, append to `EDGES`; test_edges.py builds them with all
data tests on DuckDB, test_two_engines.py compares every table they give with Spark's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lake import CLUSTER, Record

from ingest.jsontext import JsonText, json_object, json_timestamp
from ingest.sources.publish import RECEIVED_AT

Headers = list[tuple[str, bytes | None]]
Log = MutableMapping[tuple[str, int], list[Record]]
"""(topic, partition) -> its records, by offset."""

NOW = int(time.time()) * 1000
"""When the messages are sent, in ms: what has no time of receipt is as old as its landing."""

MICROSECONDS = NOW * 1000
"""A timestamp in microseconds where Kafka expects milliseconds: beyond the year 9999, so it is no time at all."""


@dataclass(frozen=True)
class Edge:
    """A message and what it must become.

    Attributes:
        value: None: a tombstone.
        rules: failed rules, comma-separated, as `failed_rules` has them.
        timestamp: Kafka's, in ms; -1: none.
    """

    name: str
    topic: str
    value: bytes | None
    verdict: str
    rules: str = ""
    timestamp: int = NOW
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = 0


def moment(after: timedelta = timedelta(0)) -> str:
    """A time that long after `NOW`, in ISO 8601."""
    return json_timestamp(datetime.fromtimestamp(NOW / 1000, UTC) + after)


def received(text: str) -> tuple[tuple[str, bytes | None], ...]:
    """The header that says when a message was received."""
    return ((RECEIVED_AT, text.encode()),)


def sale(number: int, **changes: Any) -> bytes:
    """A sale that keeps its contract, but for the changes; a `JsonText` goes into the JSON as it is."""
    fields = {
        "event_id": f"00000000-0000-4000-8000-{number:012d}",
        "event_time": moment(),
        "receipt_id": f"R{number}",
        "line_number": 1,
        "store_id": "S001",
        "product_id": "P001",
        "quantity": 1,
        "unit_price": JsonText("1.2"),
        "discount_amount": JsonText("0.0"),
        "payment_method": "card",
    }
    return json_object(fields | changes).encode()


def product(number: int, **changes: Any) -> bytes:
    """A product change that keeps its contract, but for the changes."""
    fields = {
        "event_id": f"00000000-0000-4000-9000-{number:012d}",
        "event_time": moment(),
        "product_id": f"PX{number:03d}",
        "name": "Flan",
        "category": "pastry",
        "base_price": JsonText("3.5"),
        "unit_cost": JsonText("1.25"),
        "is_active": True,
        "valid_from": moment(),
    }
    return json_object(fields | changes).encode()


def vente(number: int, **changes: Any) -> bytes:
    """A marketplace sale that keeps its contract, but for the changes."""
    fields = {
        "vente_id": 900_000_000 + number,
        "client_id": 1,
        "produit_id": 101,
        "timestamp": moment(),
        "quantite": 1,
        "montant": JsonText("899.99"),
        "client_nom": "Jean Dupont",
        "produit_nom": "Ordinateur portable",
        "categorie": "Electronique",
        "pays": "France",
        "segment": "Particulier",
    }
    return json_object(fields | changes).encode()


def feedback(number: int, **changes: Any) -> bytes:
    """A questionnaire that keeps its contract, but for the changes."""
    fields = {
        "event_id": f"00000000-0000-4000-a000-{number:012d}",
        "event_time": moment(),
        "feedback_id": f"F0000{number:05d}",
        "store_id": "S001",
        "channel": "shop",
        "rating": 4,
        "language": "fr",
        "visit": {"visited_on": "2026-01-31", "receipt_id": f"R{number}"},
        "answers": [
            {"question": "taste", "rating": 5, "comment": 'Très "bon" \\o/'},
            {"question": "price", "rating": 2},
        ],
        "tags": ["queue", "fresh_bread"],
    }
    return json_object(fields | changes).encode()


def twice(value: bytes, **first: Any) -> bytes:
    """The object with names once more at its beginning: of a repeated name the first counts."""
    return json_object(first).encode()[:-1] + b", " + value[1:]


EDGES: tuple[Edge, ...] = (
    Edge("a sale as it should be", "sales-events", sale(1), "accepted"),
    Edge("a name once more, text twice", "sales-events", twice(sale(2), product_id="P002"), "accepted"),
    # Times: a Kafka timestamp or a header outside the range of times is no time of receipt.
    Edge("timestamp in microseconds", "sales-events", sale(300), "accepted", timestamp=MICROSECONDS),
    Edge("no timestamp", "sales-events", sale(301), "accepted", timestamp=-1),
    Edge("timestamp of the year 5000", "sales-events", sale(302), "accepted", timestamp=95_617_584_000_000),
    Edge("timestamp 0 is in 1970", "sales-events", sale(303), "held", "event_in_future", timestamp=0),
    Edge("a day that has no timestamp", "sales-events", sale(304, quantity=0), "rejected", "quantity_out_of_range", -1),
    Edge("of copies, one without a timestamp is last", "sales-events", sale(305), "conflict", "", MICROSECONDS),
    Edge("of copies, one with a timestamp is first", "sales-events", sale(305, quantity=9), "accepted"),
    Edge("received in 1899", "sales-events", sale(306), "accepted", headers=received("1899-12-30T00:00:00Z")),
    Edge("received in 2100", "sales-events", sale(307), "accepted", headers=received("2100-01-01T00:00:00Z")),
    Edge(
        *("a spreadsheet's zero date", "sales-events", sale(308, event_time="1899-12-30T00:00:00"), "rejected"),
        *("event_time_out_of_range", NOW, received("1899-12-30T00:00:00Z")),
    ),
    Edge(
        *("the first moment of the range", "sales-events", sale(309, event_time="1900-01-01T00:00:00"), "accepted"),
        *("", NOW, received("1900-01-01T00:00:00Z")),
    ),
    Edge(
        *("the end of the range", "sales-events", sale(310, event_time="2100-01-01T00:00:00"), "rejected"),
        *("event_time_out_of_range", NOW, received("2099-12-31T23:59:59Z")),
    ),
    Edge(
        *("a marketplace sale in 1899", "ventes_stream", vente(300, timestamp="1899-12-31T23:59:59.999999")),
        *("rejected", "timestamp_out_of_range"),
    ),
    Edge(
        *("a price for ever", "product-changes", product(300, valid_from="9999-12-30T00:00:00"), "rejected"),
        "valid_from_out_of_range",
    ),
    Edge("a product now", "product-changes", product(301, product_id="PX301"), "accepted"),
    Edge(
        *("a version that begins later", "product-changes"),
        *(product(302, product_id="PX301", name="Flan vanille", valid_from=moment(timedelta(days=35))), "accepted"),
    ),
    Edge(
        *("a product that begins later", "product-changes"),
        *(product(303, product_id="PX303", valid_from=moment(timedelta(days=35))), "accepted"),
    ),
    *(
        Edge(
            f"a receipt over midnight, line {line}",
            "sales-events",
            sale(319 + line, receipt_id="R320", line_number=line, customer_id="C320", event_time=at),
            "accepted",
            headers=received("2026-01-07T00:00:05Z"),
        )
        for line, at in ((1, "2026-01-06T23:59:59Z"), (2, "2026-01-07T00:00:01Z"))
    ),
    # Numbers: a barcode typed into the quantity stopped every build after it.
    Edge(
        *("a barcode as quantity", "sales-events", sale(10, quantity=376130321109103420), "rejected"),
        "quantity_out_of_range",
    ),
    Edge(
        *("no rule over numbers out of range", "sales-events"),
        *(
            sale(511, quantity=10**18 - 1, unit_price=JsonText("9999999999.99"), discount_amount=JsonText("-1")),
            "rejected",
        ),
        "quantity_out_of_range,unit_price_out_of_range,discount_amount_out_of_range",
    ),
    Edge(
        *("the largest of everything", "sales-events"),
        sale(512, quantity=100_000, unit_price=1_000_000, discount_amount=1_000_000_000, line_number=10_000),
        "accepted",
    ),
    Edge("a cost that was not known yet", "sales-events", sale(513, product_id="PX510", quantity=10), "accepted"),
    Edge(
        "its product",
        "product-changes",
        product(510, unit_cost=1_000_000, valid_from=moment(timedelta(hours=1))),
        "accepted",
    ),
    Edge("the largest amounts", "ventes_stream", vente(510, quantite=100_000, montant=1_000_000_000), "accepted"),
    Edge(
        *("an amount too large", "ventes_stream", vente(511, quantite=100_001, montant=JsonText("9999999999.99"))),
        *("rejected", "quantite_out_of_range,montant_out_of_range"),
    ),
    Edge("the longest identity", "ventes_stream", vente(512, vente_id=10**18 - 1), "accepted"),
    Edge(
        *("the longest reference", "ventes_stream", vente(513, client_id=10**18 - 1, produit_id=1 - 10**18), "held"),
        "client_id_unknown,produit_id_unknown",
    ),
    # Of a repeated name the first counts, its type too; a name may be written with escapes.
    Edge(
        *("text, then a number", "sales-events", twice(sale(11), product_id="101").replace(b'"P001"', b"101")),
        "accepted",
    ),
    Edge(
        *("a number, then text", "sales-events", twice(sale(12), product_id=101).replace(b'"P001"', b'"101"')),
        *("rejected", "product_id_invalid"),
    ),
    Edge(
        *("true as text, then true", "sales-events", twice(sale(13), product_id="true").replace(b'"P001"', b"true")),
        "accepted",
    ),
    Edge(
        *(
            "a name with an escape",
            "sales-events",
            sale(14, product_id=101).replace(b'"product_id"', b'"\\u0070roduct_id"'),
        ),
        *("rejected", "product_id_invalid"),
    ),
    Edge(
        *("the same name as text, within an object", "sales-events", sale(15, product_id=101, x={"product_id": "101"})),
        *("rejected", "product_id_invalid"),
    ),
    Edge(
        *("true, then 'true'", "sales-events", twice(sale(523, product_id="true"), product_id=True), "rejected"),
        "product_id_invalid",
    ),
    Edge(
        *("null, then text", "sales-events", twice(sale(524), product_id=None), "rejected"),
        "product_id_missing",
    ),
    Edge(
        *("quantity, price and time once more", "sales-events"),
        twice(sale(525, quantity="x", unit_price=[], event_time=7), quantity=2, unit_price=3, event_time=moment()),
        "accepted",
    ),
    Edge(
        *("a truth value once more", "product-changes"),
        *(twice(product(526, is_active=True, valid_from="soon"), is_active="perhaps", valid_from=moment()), "rejected"),
        "is_active_invalid",
    ),
    Edge(
        *("text under a name with an escape", "sales-events"),
        *(sale(527).replace(b'"product_id": "P001"', b'"\\u0070roduct_id": "42"'), "accepted"),
    ),
    Edge(
        *("a number under a name with an escape", "sales-events"),
        sale(528, nested={"product_id": "42"}).replace(b'"product_id": "P001"', b'"\\u0070roduct_id": 42'),
        *("rejected", "product_id_invalid"),
    ),
    Edge("other case", "sales-events", twice(sale(529, product_id="7"), Product_ID=7, PRODUCT_ID=None), "accepted"),
    Edge(
        "nameless fields", "sales-events", sale(530, product_id="7", **{"": 1, "nested": {"product_id": 7}}), "accepted"
    ),
    # Objects and arrays: a rule names the field by its path, and an array's items by the array.
    Edge("objects and arrays", "customer-feedback", feedback(1), "accepted"),
    Edge("without a visit", "customer-feedback", feedback(2, visit=None, tags=None), "accepted"),
    Edge("nothing answered", "customer-feedback", feedback(3, answers=[], tags=[]), "accepted"),
    Edge("an object as text", "customer-feedback", feedback(4, visit="{}"), "rejected", "visit_invalid"),
    Edge("an object as array", "customer-feedback", feedback(5, visit=[{}]), "rejected", "visit_invalid"),
    Edge("an empty object", "customer-feedback", feedback(6, visit={}), "rejected", "visit_visited_on_missing"),
    Edge(
        *("what an object holds", "customer-feedback"),
        feedback(7, visit={"visited_on": "31/01/2026", "receipt_id": 7, "more": [1]}),
        *("rejected", "visit_visited_on_invalid,visit_receipt_id_invalid"),
    ),
    Edge(
        *("a day before all times", "customer-feedback", feedback(8, visit={"visited_on": "1899-12-31"})),
        *("rejected", "visit_visited_on_out_of_range"),
    ),
    Edge("no answers", "customer-feedback", feedback(9, answers=None), "rejected", "answers_missing"),
    Edge("an array as object", "customer-feedback", feedback(10, answers={"taste": 5}), "rejected", "answers_invalid"),
    Edge("an array as text", "customer-feedback", feedback(11, answers="[]"), "rejected", "answers_invalid"),
    Edge(
        *("a null among the items", "customer-feedback"),
        *(feedback(12, answers=[{"question": "taste", "rating": 5}, None]), "rejected", "answers_invalid"),
    ),
    Edge(
        *("an item that is none", "customer-feedback"),
        *(feedback(13, answers=[["question", "taste"]]), "rejected", "answers_invalid"),
    ),
    Edge(
        *("items with parts missing and wrong", "customer-feedback"),
        feedback(14, answers=[{"rating": JsonText("1.5")}, {"question": "taste", "rating": 1, "comment": 1}]),
        *("rejected", "answers_question_missing,answers_rating_invalid,answers_comment_invalid"),
    ),
    Edge(
        *("items beyond their limits", "customer-feedback"),
        feedback(15, answers=[{"question": "parking", "rating": 5}, {"question": "taste", "rating": 6}]),
        *("rejected", "answers_question_not_allowed,answers_rating_out_of_range"),
    ),
    Edge(
        *("numbers in text, blanks, unknown members", "customer-feedback"),
        feedback(16, answers=[{"more": {"rating": "x"}, "rating": "3", "question": "taste"}]).replace(b"{", b"{ \n"),
        "accepted",
    ),
    Edge(
        *("too many items", "customer-feedback"),
        feedback(17, answers=[{"question": "taste", "rating": 5}] * 21, tags=["a"] * 11),
        *("rejected", "answers_count_out_of_range,tags_count_out_of_range"),
    ),
    Edge("a number in a list of texts", "customer-feedback", feedback(18, tags=["a", 1]), "rejected", "tags_invalid"),
    Edge("a text of another form", "customer-feedback", feedback(19, tags=["a", "A"]), "rejected", "tags_malformed"),
    Edge(
        *("a number, and a text of the same name within an item", "customer-feedback"),
        feedback(20, comment=5, answers=[{"question": "taste", "rating": 5, "comment": "5"}]),
        *("rejected", "comment_invalid"),
    ),
    Edge(
        *("a text, and a number of the same name within an item", "customer-feedback"),
        feedback(21, comment="5", answers=[{"question": "taste", "rating": 5, "comment": 5}]),
        *("rejected", "answers_comment_invalid"),
    ),
    Edge(
        *("an object once more", "customer-feedback"),
        *(twice(feedback(22, visit="no"), visit={"visited_on": "2026-01-31"}), "accepted"),
    ),
    Edge(
        *("a member once more", "customer-feedback"),
        feedback(23).replace(b'"visit": {', b'"visit": {"visited_on": 7, '),
        *("rejected", "visit_visited_on_invalid"),
    ),
    Edge(
        *("a member under a name with an escape", "customer-feedback"),
        *(feedback(24).replace(b'"visited_on"', b'"visited\\u005fon"'), "accepted"),
    ),
    Edge(
        *("a number beyond doubles within an object", "customer-feedback"),
        feedback(25, visit={"visited_on": "2026-01-31", "receipt_id": JsonText("1e400")}),
        *("rejected", "visit_receipt_id_invalid"),
    ),
    # An unknown strict reference holds a sale, and one that an operator releases stops no build.
    Edge("a client nobody knows", "ventes_stream", vente(10, client_id=99), "held", "client_id_unknown"),
    Edge("a product nobody knows", "ventes_stream", vente(11, produit_id=999), "held", "produit_id_unknown"),
)


def append(log: Log, edges: Iterable[Edge] = EDGES) -> dict[tuple[str, int, int], Edge]:
    """Append the messages to a log; returns where each is: (topic, partition, offset)."""
    places = {}
    for edge in edges:
        records = log.setdefault((edge.topic, edge.partition), [])
        offset = records[-1].offset + 1 if records else 0
        records.append(Record(offset, edge.timestamp, b"key", edge.value, list(edge.headers)))
        places[edge.topic, edge.partition, offset] = edge
    return places


def wrong(
    places: Mapping[tuple[str, int, int], Edge], rows: Iterable[tuple[str, str, int, int, str, str]]
) -> dict[str, tuple[str, str]]:
    """Cases that did not become what they must: name -> (verdict, rules) they have.

    rows: kafka_cluster, topic, partition, kafka_offset, verdict, failed_rules of `silver.int_messages`.
    """
    found = {row[1:4]: row[4:] for row in rows if row[0] == CLUSTER}
    return {
        edge.name: found.get(place, ("no verdict", ""))
        for place, edge in places.items()
        if found.get(place) != (edge.verdict, edge.rules)
    }
