"""dbt: events that nobody reads cost nothing.

dbt makes a protobuf message of each of its events, forty for each model, nearly all of them for a log of level `debug`,
and renders its line, before it looks whether a log or a callback takes it. That is a fifth of the CPU of a build of
small tables.

Not on import: `apply` makes the change, for this process.

Upstream: https://github.com/dbt-labs/dbt-common/blob/v1.39.0/dbt_common/events/event_manager.py (`fire_event`)
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager

from ingest.patches import written_for

written_for(
    "dbt-common",
    "1.39.0",
    "see whether an event is still made of its keyword arguments alone, and whether `fire_event` still does nothing "
    "with one of level `debug` but hand it to the loggers of that level and to the callbacks.",
)

_make_at_once = BaseEvent.__init__
_fire = EventManager.fire_event

_UNREAD = (EventLevel.DEBUG, EventLevel.TEST)


def apply(watched: Collection[str]) -> None:
    """Have dbt drop events of level `debug` while no logger has that level.

    Args:
        watched: names of the events that callbacks want all the same.
    """

    def make(self: BaseEvent, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "made_of", (args, kwargs))

    def message(self: BaseEvent) -> Any:
        args, kwargs = self.__dict__["made_of"]
        _make_at_once(self, *args, **kwargs)
        return self.__dict__["pb_msg"]

    def fire(
        self: EventManager,
        e: BaseEvent,
        level: EventLevel | None = None,
        node: Any = None,
        force_warn_or_error_handling: bool = False,
    ) -> None:
        if (
            force_warn_or_error_handling
            or (level or e.level_tag()) not in _UNREAD
            or type(e).__name__ in watched
            or any(logger.level in _UNREAD for logger in self.loggers)
        ):
            _fire(self, e, level, node, force_warn_or_error_handling)

    when_read = cached_property(message)
    when_read.__set_name__(BaseEvent, "pb_msg")
    BaseEvent.__init__ = make
    BaseEvent.pb_msg = when_read
    EventManager.fire_event = fire
