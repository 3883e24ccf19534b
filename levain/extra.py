"""Commands that only this project has; `levain new` writes one without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add(app: typer.Typer, source: typer.Typer) -> None:
    """Add them to the command line, and to its group of sources."""

    @source.command()
    def weather(
        once: Annotated[bool, typer.Option("--once", help="ask once, then end")] = False,
    ) -> None:
        """The weather at each shop, asked again and again."""
        from ingest.settings import load_settings
        from ingest.sources.service import run
        from ingest.sources.weather import Weather

        settings = load_settings()
        run(Weather(settings), settings, once=once)

    @app.command()
    def new(
        folder: Annotated[Path, typer.Argument(metavar="NAME", help="folder of the project, such as ../myshop")],
        sample: Annotated[
            Path | None, typer.Option(help="CSV or JSON file with events; the contract is drafted from it")
        ] = None,
        field: Annotated[
            list[str] | None, typer.Option(help="without a sample: name:type, such as amount:number; once per field")
        ] = None,
        contract: Annotated[Path | None, typer.Option(help="a contract that you have, in place of a draft")] = None,
        topic: Annotated[str, typer.Option(help="the topic; else the sample's name")] = "",
        identity: Annotated[
            str | None, typer.Option(help="the column that is different in every event; event_id: none is")
        ] = None,
        event_time: Annotated[str | None, typer.Option(help="the column that says when it happened")] = None,
        key: Annotated[str | None, typer.Option(help="the column whose events stay in order")] = None,
        system: Annotated[str, typer.Option(help="the system that the events come from, in lower case")] = "source",
        again: Annotated[
            bool, typer.Option("--again", help="write the project that is there once more, as this version has it")
        ] = False,
    ) -> None:
        """A project of your own, with one topic."""
        from levain.dev.asked import run
        from levain.dev.draft import Choices

        run(folder, sample, field or [], contract, topic, system, Choices(identity, event_time, key), again)
