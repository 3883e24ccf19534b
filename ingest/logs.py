"""The worker's log: as text for people, or one JSON object per line for machines (`LEVAIN_LOG_FORMAT=json`)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import faust

from ingest.lander import Landed
from ingest.patches import faust_banner
from ingest.settings import Settings


class JsonFormatter(logging.Formatter):
    """A record as JSON: time (UTC), level, logger, message, the exception if there is one, and the record's facts."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "facts", {}), default=str)


class Worker(faust.Worker):
    """Faust's worker without what it prints past the log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "quiet": True})


def faust_options(settings: Settings) -> dict[str, Any]:
    """What a Faust app has to be given so that it logs as the settings say.

    `faust worker` sets up logging by itself when it starts, from a configuration whose handler has the formatter
    `colored`, with `--logfile` `default`; both are replaced.
    """
    if settings.log_format == "text":
        return {}
    faust_banner.apply()
    formatter = {"()": JsonFormatter}
    return {
        "logging_config": {"merge": True, "formatters": {"colored": formatter, "default": formatter}},
        "Worker": Worker,
    }


def commit(log: logging.Logger, topic: str, landed: Landed, seconds: float) -> None:
    """Log a commit: the same facts as text and, as JSON, as fields."""
    if not landed.ranges:
        log.info("%s: what was buffered had landed already", topic)
        return
    ranges = [{"partition": r.partition[2], "from": r.start, "to": r.end} for r in landed.ranges]
    log.info(
        "%s: %d messages, %d bytes, %s, in %.2f s: landed in commit %s",
        topic,
        landed.rows,
        landed.size,
        ", ".join(f"partition {r['partition']} [{r['from']}, {r['to']})" for r in ranges),
        seconds,
        landed.batch_id,
        extra={
            "facts": {
                "topic": topic,
                "batch_id": landed.batch_id,
                "rows": landed.rows,
                "bytes": landed.size,
                "seconds": round(seconds, 3),
                "partitions": ranges,
            }
        },
    )
