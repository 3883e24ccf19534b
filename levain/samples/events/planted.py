"""What is planted in the company's events: fraud, drift, and who leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ingest.jsontext import json_timestamp
from levain.samples import company
from levain.samples.events.equipment import breakdowns, fleet
from levain.samples.events.fraud import is_fraudulent
from levain.samples.events.shoppers import stays
from levain.samples.variants import Message


class Planted:
    """What a model should find out from the events of a run, and no field of them says.

    Attributes:
        fraudulent_purchases: the purchases by thieves that are accepted, by `purchase_id`.
    """

    def __init__(self) -> None:
        self.fraudulent_purchases: list[str] = []

    def add(self, message: Message) -> None:
        """Take note of a message that is sent."""
        if message.topic == "purchases" and message.verdict == "accepted" and message.value:
            purchase_id = str(json.loads(message.value)["purchase_id"])
            if is_fraudulent(purchase_id):
                self.fraudulent_purchases.append(purchase_id)

    def found(self, topics: Iterable[str], start: date, length: int) -> dict[str, Any]:
        """All of it, in a period of so many days from a first one on, in which these topics are sent.

        Times are UTC. A machine drifts from `drifts_from` until it fails; from `left_on` on a customer's visits fade
        out. Machines and customers are named whether or not there are events enough to show them.
        """
        days = [start + timedelta(days=offset) for offset in range(length)]
        begin, end = (company.local_midnight(day) for day in (start, start + timedelta(days=length)))
        drifts = [
            {
                "equipment_id": machine.equipment_id,
                "drifts_from": _text(each.drifts),
                "failed_at": _text(each.failed),
                "attended_at": _text(each.attended),
                "repaired_at": _text(each.repaired),
                "error_code": each.error_code,
            }
            for machine in fleet(days)
            for each in breakdowns(machine)
            if each.drifts < end and begin < each.repaired
        ]
        leaving = [
            {"customer_id": f"C{stay.number:05d}", "left_on": stay.leaves.isoformat()}
            for first in range(1, company.CUSTOMERS + 1)
            for stay in stays(first, start)
            if stay.leaves and stay.leaves <= days[-1]
        ]
        planted: dict[str, Any] = {}
        if "purchases" in topics:
            planted["fraudulent_purchases"] = self.fraudulent_purchases
        if "equipment-metrics" in topics:
            planted["equipment_drifts"] = drifts
        if {"sales-events", "purchases"} & set(topics):
            planted["customers_left"] = leaving
        return planted


def _text(moment: datetime) -> str:
    return json_timestamp(moment.astimezone(UTC))
