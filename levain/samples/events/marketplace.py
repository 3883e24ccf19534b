"""Sales of the marketplace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import accumulate, pairwise

from ingest.jsontext import utc
from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, drawn, on_its_way, shared_out

_VENTES_HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 20, 24, 26, 30, 28, 24, 24, 26, 30, 36, 42, 46, 40, 24, 10)
_CLIENT_WEIGHTS = list(accumulate(client.weight for client in company.CLIENTS))
_PRODUIT_WEIGHTS = list(accumulate(produit.weight for produit in company.PRODUITS))
_ENTERPRISE, _PARTICULIER = list(accumulate((20, 30, 20, 20, 10))), list(accumulate((70, 22, 6, 2, 0)))


def _trade(day: date) -> float:
    """Trade of the marketplace on a day: more at the weekend, most before Christmas, less in August."""
    season = 1.6 if day.month == 12 and day.day < 24 else 0.85 if day.month == 8 else 1.0
    return season * (1.35 if day.weekday() >= 5 else 1.0)


def ventes(run: Run, count: int) -> Iterator[Event]:
    """Sales of the marketplace, exactly its eleven fields."""
    rng, serial = run.random("ventes"), 0
    # Twelve digits: six of the run, so that no two runs sell under one number.
    first = (run.namespace.int % 900_000 + 100_000) * 1_000_000
    bounds = shared_out(count, (_trade(day) for day in run.calendar))
    for day, (since, until) in zip(run.calendar, pairwise([0, *bounds]), strict=True):
        midnight = datetime.combine(day, time())
        hours = rng.choices(range(24), _VENTES_HOURS, k=until - since)
        for sold in sorted(
            midnight + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000)) for hour in hours
        ):
            serial += 1
            client = drawn(rng, company.CLIENTS, _CLIENT_WEIGHTS)
            produit = drawn(rng, company.PRODUITS, _PRODUIT_WEIGHTS)
            quantite = drawn(rng, (1, 2, 3, 5, 10), _ENTERPRISE if client.segment == "Enterprise" else _PARTICULIER)
            yield Event(
                {
                    "vente_id": first + serial,
                    "client_id": client.client_id,
                    "produit_id": produit.produit_id,
                    "timestamp": sold,
                    "quantite": quantite,
                    "montant": produit.price * quantite,
                    "client_nom": client.name,
                    "produit_nom": produit.name,
                    "categorie": produit.category,
                    "pays": client.country,
                    "segment": client.segment,
                },
                utc(sold) + on_its_way(rng),
            )
