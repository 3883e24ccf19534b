"""Faust: the offset that is committed is the one after the last message that was acknowledged.

Faust looks for gaps between the offsets of acknowledged messages, and stays at one for good. Gaps are of no meaning
here: offsets are missing in every topic with transactions or compaction, messages are whole fetches, and they are
acknowledged in order.

Upstream: https://github.com/faust-streaming/faust/issues/606, https://github.com/robinhood/faust/issues/401
"""

from __future__ import annotations

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from ingest.patches import written_for

written_for(
    "faust-streaming",
    "0.15.3",
    "see whether `Consumer._new_offset` still decides what is committed, from `_acked` and `_acked_index`, and whether "
    "gaps are handled there by now.",
)


class GapTolerantConsumer(driver.Consumer):
    """Faust's consumer, which commits past gaps."""

    def _new_offset(self, tp: TP) -> int | None:
        acked, self._acked[tp] = self._acked[tp], []
        self._acked_index[tp].clear()
        return max(acked) + 1 if acked else None

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing to remember."""
