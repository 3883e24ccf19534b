"""Commands that only this project has; `levain new` writes one without."""

from __future__ import annotations

from datetime import datetime
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

    @app.command("train-scores")
    def train_scores(
        until: Annotated[
            datetime, typer.Option(help="the first day whose purchases it does not see (UTC)", formats=["%Y-%m-%d"])
        ],
        snapshot: Annotated[int | None, typer.Option(help="of bronze.purchases; else the newest")] = None,
        rate: Annotated[float, typer.Option(help="part of the purchases that is to be suspicious")] = 0.015,
    ) -> None:
        """Train the model that scores purchases."""
        from ingest.settings import load_settings
        from levain.learn.purchases import Parameters, train
        from levain.terminal import errors, say

        with errors.status("Training on the purchases of Bronze"):
            trained = train(load_settings(), until.date(), snapshot, Parameters(expected_rate=rate))
        say("trained", f"on {trained.purchases:,} purchases of snapshot {trained.snapshot_id}")
        say("left out", f"{trained.unread:,} messages that are copies or no purchases")
        say("threshold", f"{trained.threshold}: {rate:.1%} of them reach it")
        say("model", f"{trained.version} in {trained.file}")

    @app.command()
    def score() -> None:
        """Score purchases as they come, beside the stack."""
        from ingest.fraud import load
        from ingest.settings import load_settings
        from levain.local.stack import Stack

        settings = load_settings()
        version = load(settings.models_dir, settings.scores_model).version
        stack = Stack(settings)
        stack.up()
        stack.up_beside("scores", "ingest.scores", model=version)

    @app.command()
    def forecast(
        days: Annotated[int, typer.Option(help="how many days ahead", min=1, max=14)] = 7,
        as_of: Annotated[
            datetime | None,
            typer.Option(help="with what was known on that day; else the last full one", formats=["%Y-%m-%d"]),
        ] = None,
        back_test: Annotated[
            bool, typer.Option("--back-test", help="publish nothing; print how good the last weeks' would have been")
        ] = False,
    ) -> None:
        """What each shop will sell, as events."""
        from ingest.settings import load_settings
        from levain.learn import demand

        day = as_of.date() if as_of else None
        if back_test:
            demand.run_back_test(load_settings(), day)
        else:
            demand.run(load_settings(), day, days)

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
