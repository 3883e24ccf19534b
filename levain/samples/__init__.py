"""Seeded sample events, with faults on request and the expected outcome of each.

`events` makes those of this project's topics, `generic` those of any other, `faults` breaks some of them on purpose,
and `producer` publishes them and writes down what must become of each.
"""

from levain.samples.calendar import START
from levain.samples.faults import FAULTS
from levain.samples.producer import ExpectedOutcome, generate, produce
from levain.samples.variants import Message

__all__ = ["FAULTS", "START", "ExpectedOutcome", "Message", "generate", "produce"]
