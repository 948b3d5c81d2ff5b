"""Log lines: one an event, to standard error, as text for people or JSON for programs."""

import logging
import sys
from datetime import UTC, datetime

from daemon.log_limit import LogLimit
from daemon.text import json_text, printable

_OURS = ("classifyd", "plugins")


class TextFormatter(logging.Formatter):
    """A line for people, from whose message no name of a file can make two or steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Write one record, without its traceback."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at`, `level`, `logger`, `message`, and `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json_text(line)


def set_up(level: str, form: str) -> None:
    """Send the program's own log lines from `level` upwards to standard error, those of the
    plugins in the box too; of all others, such as strangers' plugins, warnings and errors.

    What repeats itself is limited (`LogLimit`)."""
    limit = LogLimit()
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers = [_handler(form, limit)]
        logger.propagate = False
        logger.setLevel(level.upper())
    logging.lastResort = _handler(form, limit)  # else Python writes them bare, between our lines
    logging.lastResort.setLevel(logging.WARNING)


def _handler(form: str, limit: LogLimit) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(limit)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    return handler
