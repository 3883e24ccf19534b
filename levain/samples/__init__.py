"""Seeded sample events of the example company, with faults on request and the expected outcome of each.

`company` says who sells what, `events` turns that into events per topic, `faults` breaks some of them on purpose, and
`producer` publishes them and writes down what must become of each.
"""

from levain.samples.company import START
from levain.samples.faults import FAULTS, Message
from levain.samples.producer import ExpectedOutcome, generate, produce

__all__ = ["FAULTS", "START", "ExpectedOutcome", "Message", "generate", "produce"]
