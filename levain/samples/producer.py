"""Sample events into the topics, and the expected outcome of each."""

from __future__ import annotations

import hashlib
import heapq
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from ingest.contracts import Contract, load_contracts
from ingest.errors import BadInput
from ingest.settings import Settings
from ingest.sources.publish import Publisher
from levain.samples import calendar
from levain.samples import faults as fault
from levain.samples.events import SOURCES, WITHOUT_EVENTS, Planted, run_of
from levain.samples.generic import source_for
from levain.samples.run import Run, Source, days_for
from levain.samples.variants import VERDICTS, Message

_PROGRESS_EVERY = 500


@dataclass(frozen=True)
class Period:
    """The simulated days of a run: so many from a first one on."""

    start: date
    days: int

    @property
    def last(self) -> date:
        return self.start + timedelta(days=self.days - 1)


def period(events: int, history: int | None = None, until: date | None = None) -> Period:
    """The simulated days of a run.

    Args:
        events: how many; without a history, more of them take more days.
        history: how many days; None: from `calendar.START` on, as many as the events need (`run.days_for`).
        until: last day of the history; None: today.

    Raises:
        BadInput: the history is not within the calendar, or a last day is named and no history is asked for.
    """
    if history is None:
        if until:
            raise BadInput(
                f"No history is asked for that could end on {until}.", "Say of how many days: --history 730."
            )
        return Period(calendar.START, days_for(events))
    last = until or datetime.now(calendar.ZONE).date()
    most = (min(last, calendar.LAST_DAY) - calendar.FIRST_DAY).days + 1
    if last > calendar.LAST_DAY or not 1 <= history <= most:
        raise BadInput(
            f"A history of {history} days that ends on {last} cannot be made: the calendar of sample events goes from "
            f"{calendar.FIRST_DAY} to {calendar.LAST_DAY}.",
            f"Ask for 1 to {most} days." if most > 0 and last <= calendar.LAST_DAY else "Let it end on another day.",
        )
    return Period(last - timedelta(days=history - 1), history)


@dataclass
class TopicOutcome:
    """What must become of one topic's messages.

    Attributes:
        messages: how many were sent.
        verdicts: verdict -> messages; each of the five verdicts is there.
        rules: rule -> messages that list it.
    """

    messages: int = 0
    verdicts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(VERDICTS, 0)))
    rules: Counter[str] = field(default_factory=Counter)


@dataclass
class ExpectedOutcome:
    """What a run sent, and what must become of it.

    It holds for a lake in which no other run's messages share these event ids; ids differ from run to run, so the
    outcomes of different runs add up. Where the same run is sent again into the same home, every event is there
    already, and `resent` says how often. Where it was cut short before, those that were sent by then, `cut_short`, are
    there already, and which those are is not known: as many more are duplicates than it says, and fewer accepted.

    Attributes:
        run: the run's name: topics, number of events, days, seed, fault profile.
        period: the simulated days.
        resent: how often all of it was sent before.
        cut_short: how many messages were sent by earlier tries that did not end, at most.
        file: where it was written; None: nowhere.
        findings: what a model should find out from the events, and no field of them says.
    """

    run: str
    events: int
    seed: int
    faults: str
    resent: int = 0
    cut_short: int = 0
    topics: dict[str, TopicOutcome] = field(default_factory=dict)
    file: Path | None = None
    period: Period = field(default_factory=lambda: period(1))
    findings: Planted = field(default_factory=Planted)

    @property
    def again(self) -> str:
        """What to say of a run that was sent before, wholly or in part; empty if it was not."""
        if not self.resent and not self.cut_short:
            return ""
        part = "" if self.resent else f"up to {self.cut_short:,} of "
        return (
            f"These are the events of seed {self.seed}, {part}which were sent before: what was accepted of them then "
            f"is a duplicate now. --seed {self.seed + 1} sends others."
        )

    def add(self, message: Message) -> None:
        """Count a message."""
        topic = self.topics.setdefault(message.topic, TopicOutcome())
        topic.messages += 1
        verdict = "duplicate" if self.resent and message.verdict == "accepted" else message.verdict
        topic.verdicts[verdict] += 1
        topic.rules.update(message.rules)
        self.findings.add(message)

    def planted(self) -> dict[str, Any]:
        """What a model should find out from the events, by kind."""
        return self.findings.found(self.topics, self.period.start, self.period.days)

    def as_json(self) -> str:
        """The file: run, seed and so on, per topic messages, verdicts and rules, and what is `planted`."""
        document = {
            "run": self.run,
            "events": self.events,
            "days": {"first": self.period.start.isoformat(), "last": self.period.last.isoformat()},
            "seed": self.seed,
            "faults": self.faults,
            "resent": self.resent,
            "cut_short": self.cut_short,
            "topics": {
                name: {"messages": t.messages, "verdicts": dict(t.verdicts), "rules": dict(sorted(t.rules.items()))}
                for name, t in sorted(self.topics.items())
            },
            "planted": self.planted(),
        }
        return json.dumps(document, indent=2) + "\n"


def run_name(topics: Sequence[str], events: int, seed: int, faults: str, history: Period | None = None) -> str:
    """Names a run by all that its messages depend on; `history`: its days, where they do not follow from the events."""
    digest = hashlib.sha256(",".join(sorted(topics)).encode()).hexdigest()[:8]
    days = f"-days-{history.start}-{history.last}" if history else ""
    return f"{events}-events{days}-seed-{seed}-faults-{faults}-topics-{digest}"


def generate(
    topics: Sequence[str] | None,
    events: int,
    seed: int = 1,
    faults: str = "none",
    history: Period | None = None,
) -> Iterator[Message]:
    """Sample messages in the order they are received; the same arguments give the same messages, byte for byte.

    They are generated day by day: memory does not grow with their number, only with the number of those of a few days.
    Copies of an event come after it and under its key.

    Args:
        topics: None: every topic that has a data contract.
        events: how many messages in all.
        seed: another one gives other events.
        faults: `none`, `all`, or the name of one fault (`faults.FAULTS`).
        history: the simulated days; None: those that `period` gives for so many events.

    Raises:
        BadInput: a topic or fault profile is unknown, or `events` is not at least 1; the valid ones are named.
    """
    contracts = load_contracts()
    sources = _sources(contracts)
    names = _checked_topics(sources, topics)
    if events < 1:
        raise BadInput(f"{events} sample events cannot be made.", "Ask for 1 or more.")
    homes = fault.homes(fault.profile(faults), names)
    if faults != "none" and not homes:
        raise BadInput(
            f"The fault profile '{faults}' has no form in {', '.join(names)}.",
            f"It has in: {', '.join(fault.FAULTS[faults].variants)}.",
        )
    simulated = history or period(events)
    counts = _counts({name: sources[name] for name in names}, events, simulated)
    name = run_name(names, events, seed, faults, history)
    plans: dict[str, tuple[int, fault.Plan]] = {}
    left = events
    for topic in (*names[1:], names[0]):
        protected = sources[topic].protected
        rng = calendar.seeded(name, f"faults/{topic}")
        planned = fault.plan(homes, topic, counts.get(topic, left), rng)
        if topic == names[0]:
            # The copies in all topics count as messages; the largest topic has the fewer events for it, so that the
            # others keep whole files and catalogues.
            while planned and len(planned) > left - planned.extras - protected:
                planned.take(rng)
            count = left - planned.extras
        else:
            count = counts[topic]
            while planned and len(planned) > count - protected:
                planned.take(rng)
            left -= count + planned.extras
        plans[topic] = count, planned
    sent = {topic: count for topic, (count, _) in plans.items()}
    run = run_of(name, simulated.days, tuple(sent.items()), simulated.start)
    streams = [_stream(contracts[topic], sources[topic], run, *plan) for topic, plan in plans.items()]
    return heapq.merge(*streams, key=lambda message: message.received)


def _sources(contracts: Mapping[str, Contract]) -> dict[str, Source]:
    """Topic -> its generator: its own in `events`, else the one for any contract of plain JSON."""
    return {
        topic: SOURCES.get(topic) or source_for(contract)
        for topic, contract in contracts.items()
        if contract.encoding is None and topic not in WITHOUT_EVENTS
    }


def _checked_topics(sources: Mapping[str, Source], topics: Sequence[str] | None) -> list[str]:
    """The topics, the one with the largest share first."""
    unknown = sorted(set(topics or ()) - set(sources))
    if unknown:
        raise BadInput(
            f"There are no sample events for {', '.join(unknown)}.",
            f"There are for: {', '.join(sources)}. A data contract gives a topic its own, unless it has an `encoding`.",
        )
    return sorted(set(topics or sources), key=lambda topic: (-sources[topic].share, topic))


def _counts(sources: Mapping[str, Source], events: int, simulated: Period) -> dict[str, int]:
    """Events per topic but for the first, which gets what is left."""
    total = sum(source.share for source in sources.values())
    # What must be known takes at most a quarter of the messages per topic, and half of them in all.
    room = events // max(4, 2 * sum(source.least is not None for source in sources.values()))
    counts = {}
    for topic, source in list(sources.items())[1:]:
        wanted = max(
            round(events * source.share / total),
            min(source.least(simulated.days, simulated.start) if source.least else 0, room),
        )
        counts[topic] = min(wanted, source.most(simulated.days, simulated.start)) if source.most else wanted
        if counts[topic] > source.unit:
            counts[topic] -= counts[topic] % source.unit
    return counts


def _stream(contract: Contract, source: Source, run: Run, count: int, planned: fault.Plan) -> Iterator[Message]:
    rng = run.random(f"places/{contract.topic}")
    return fault.inject(contract, source.generate(run, count), count, source.protected, planned, rng)


def produce(
    settings: Settings,
    events: int,
    rate: float = 0,
    seed: int = 1,
    faults: str = "none",
    topics: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    history: int | None = None,
    until: date | None = None,
) -> ExpectedOutcome:
    """Publish sample messages, see `generate`, and write their expected outcome to `<home>/expected/<run>.json`.

    The same call again sends the same messages again, and all of their events are duplicates then; its outcome goes
    into a file of its own (`<run>.resent-1.json`). A run that is cut short leaves `<run>.begun` with the number of
    messages that it has handed over, or none if it was killed.

    Args:
        settings: which broker, and where the home is.
        events: how many messages in all.
        rate: messages a second; 0: as fast as the broker takes them.
        seed: another one gives other events.
        faults: fault profile.
        topics: None: every topic that has a data contract.
        progress: called now and then with the number of messages handed over.
        history: over how many days, see `period`.
        until: the last of these days.

    Returns:
        The expected outcome, with its file, which is written when every message is acknowledged, not before.

    Raises:
        LevainError: see `generate` and `period`; the broker cannot be reached or has no such topic; a message was not
            acknowledged.
    """
    names = _checked_topics(_sources(load_contracts()), topics)
    simulated = period(events, history, until)
    asked = None if history is None else simulated
    messages = generate(names, events, seed, faults, asked)
    outcome = ExpectedOutcome(run_name(names, events, seed, faults, asked), events, seed, faults, period=simulated)
    folder = settings.root / "expected"
    while (file := folder / f"{outcome.run}{f'.resent-{outcome.resent}' if outcome.resent else ''}.json").exists():
        outcome.resent += 1
    begun = folder / f"{outcome.run}.begun"
    if begun.exists():
        outcome.cut_short = int(begun.read_text() or events)
    for topic in names:
        outcome.topics[topic] = TopicOutcome()
    began = time.monotonic()
    with Publisher(settings, names) as publisher:
        folder.mkdir(parents=True, exist_ok=True)
        begun.write_text("")
        number = 0
        try:
            for number, message in enumerate(messages, start=1):
                publisher.publish(message.topic, message.key, message.value, message.headers)
                outcome.add(message)
                if rate > 0:
                    time.sleep(max(0.0, began + number / rate - time.monotonic()))
                if progress is not None and number % _PROGRESS_EVERY == 0:
                    progress(number)
            publisher.flush()
        except BaseException:
            begun.write_text(str(max(number, outcome.cut_short)))
            raise
    if progress is not None:
        progress(events)
    file.write_text(outcome.as_json(), encoding="utf-8")
    begun.unlink()
    outcome.file = file
    return outcome
