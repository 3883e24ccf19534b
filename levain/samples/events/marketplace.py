"""Sales of the marketplace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import accumulate

from ingest.jsontext import utc
from levain.samples import company
from levain.samples.events.run import Event, Run, on_its_way

_VENTES_HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 20, 24, 26, 30, 28, 24, 24, 26, 30, 36, 42, 46, 40, 24, 10)


def ventes(run: Run, count: int) -> Iterator[Event]:
    """Sales of the marketplace, exactly its eleven fields."""
    rng, serial = run.random("ventes"), 0
    # Twelve digits: six of the run, so that no two runs sell under one number.
    first = (run.namespace.int % 900_000 + 100_000) * 1_000_000
    weights = [1.0 + (0.35 if (company.START + timedelta(days=day)).weekday() >= 5 else 0.0) for day in range(run.days)]
    bounds = [round(count * each / math.fsum(weights)) for each in accumulate(weights)]
    for day, (since, until) in enumerate(zip([0, *bounds], bounds, strict=False)):
        midnight = datetime.combine(company.START + timedelta(days=day), time())
        hours = rng.choices(range(24), _VENTES_HOURS, k=until - since)
        for sold in sorted(
            midnight + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000)) for hour in hours
        ):
            serial += 1
            client = rng.choices(company.CLIENTS, [each.weight for each in company.CLIENTS])[0]
            produit = rng.choices(company.PRODUITS, [each.weight for each in company.PRODUITS])[0]
            quantite = rng.choices(
                (1, 2, 3, 5, 10), (20, 30, 20, 20, 10) if client.segment == "Enterprise" else (70, 22, 6, 2, 0)
            )[0]
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
