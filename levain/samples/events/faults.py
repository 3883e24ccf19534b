"""The faults that only topics of the company can have, and what another version of one of their events differs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ingest.jsontext import JsonText
from levain.samples.variants import ABSENT, Variant, fields, invalid, missing, not_json

OTHER_VERSIONS: dict[str, Mapping[str, Any]] = {
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

FORMS: dict[str, Mapping[str, Sequence[Variant]]] = {
    # The marketplace's sales have exactly eleven fields.
    "extra-fields": {"ventes_stream": ()},
    "missing-fields": {
        "sales-events": (
            missing("product_id"),
            missing("event_id"),
            missing("unit_price", null=True),
            missing("event_time", null=True),
            missing("store_id"),
            fields(
                dict.fromkeys(("receipt_id", "line_number", "promotion_id", "customer_id", "payment_method"), ABSENT),
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
    },
    "wrong-types": {
        "sales-events": (
            invalid("quantity", "trois"),
            invalid("quantity", JsonText("1.5")),
            invalid("store_id", 1),
            invalid("unit_price", {"amount": "1.30", "currency": "EUR"}),
            invalid("event_time", "hier matin"),
            invalid("event_time", "2026-02-30T08:15:00Z"),
            invalid("event_id", "till-2-000417"),
            fields(
                {"line_number": "une", "product_id": 7},
                *("rejected", "line_number_invalid", "product_id_invalid"),
            ),
        ),
        "ventes_stream": (
            invalid("quantite", "deux"),
            invalid("timestamp", "lundi 10h"),
            invalid("client_nom", 4),
        ),
        "product-changes": (invalid("is_active", "peut-être"), invalid("valid_from", "bientôt")),
        "store-extracts": (invalid("size_m2", "grand"), invalid("opened_on", "2017-13-01")),
        "customer-changes": (invalid("is_member", "oui"), invalid("signed_up_at", "2019")),
        "promotions": (invalid("discount_value", "10 %"), invalid("starts_at", "lundi")),
        "inventory-updates": (
            invalid("quantity", "douze"),
            invalid("quantity", JsonText("2.5")),
            invalid("store_id", 3),
            # Without a lot, which a date of expiry must have.
            fields({"lot_id": ABSENT, "expires_on": "2026-02-30"}, "rejected", "expires_on_invalid"),
        ),
        "equipment-metrics": (
            invalid("temperature_c", "chaud"),
            invalid("cycles", JsonText("12.5")),
            invalid("power_kw", {"value": "2.310", "unit": "kW"}),
            invalid("event_time", "1767600000"),
        ),
        "customer-feedback": (
            invalid("rating", "quatre"),
            invalid("visit", "hier"),
            invalid("answers", {"taste": 5, "price": 3}),
            invalid("answers", ["taste", 5]),
            invalid("tags", ["fresh", 4]),
            fields({"visit": {"visited_on": "05/01/2026"}}, "rejected", "visit_visited_on_invalid"),
            fields(
                {"answers": [{"question": "taste", "rating": "très bien"}, {"question": "price", "rating": 3}]},
                *("rejected", "answers_rating_invalid"),
            ),
        ),
        "purchases": (
            invalid("quantity", "une douzaine"),
            invalid("unit_price", {"amount": "3.20", "currency": "EUR"}),
            invalid("is_member", "oui"),
            invalid("device", 17),
            invalid("attributes", {"slicing": "thin"}),
            invalid("attributes", ["thin"]),
            fields({"attributes": [{"name": "slicing", "value": 8}]}, "rejected", "attributes_value_invalid"),
        ),
        "web-events": (
            invalid("device", "mobile"),
            invalid("device", ["mobile", "iOS"]),
            invalid("cart", {"P001": 2}),
            invalid("page", 404),
            invalid("event_time", "1767600000"),
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
    "numbers-as-text": {
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
    "broken-rules": {
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
            fields({"attributes": [{"name": "engraving", "value": "Léa"}]}, "rejected", "attributes_name_not_allowed"),
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
            fields({"event_type": "page_view", "product_id": None, "quantity": 2}, "rejected", "quantity_has_product"),
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
    "impossible-amounts": {
        "sales-events": (
            not_json("unit_price", "NaN"),
            not_json("unit_price", "Infinity"),
            not_json("discount_amount", "-Infinity"),
            invalid("unit_price", "NaN"),
            invalid("unit_price", _FORTY_DIGITS),
            invalid("unit_price", JsonText("1.305")),
        ),
        "ventes_stream": (not_json("montant", "NaN"), invalid("montant", _FORTY_DIGITS)),
        "product-changes": (not_json("unit_cost", "Infinity"),),
        "equipment-metrics": (
            not_json("temperature_c", "NaN"),
            invalid("power_kw", "Infinity"),
            invalid("vibration_mm_s", JsonText("1.234")),
        ),
        "customer-feedback": (
            not_json("rating", "NaN"),
            fields(
                {"answers": [{"question": "price", "rating": JsonText("4.5")}]},
                *("rejected", "answers_rating_invalid"),
            ),
        ),
        "purchases": (
            not_json("total_amount", "NaN"),
            invalid("total_amount", _FORTY_DIGITS),
            invalid("unit_price", JsonText("3.205")),
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
    "unknown-references": {
        "ventes_stream": (
            fields({"client_id": 99}, "held", "client_id_unknown", key="99"),
            fields({"produit_id": 999}, "held", "produit_id_unknown"),
            fields({"client_id": 98, "produit_id": 998}, "held", "client_id_unknown", "produit_id_unknown", key="98"),
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
}
