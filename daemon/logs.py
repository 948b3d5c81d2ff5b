"""Log lines: one an event, to standard error, as text for people or JSON for programs.

In systemd's journal each line carries its weight, and no time of its own: the journal has that.
"""

import logging
import os
import sys
from datetime import UTC, datetime

from daemon.log_limit import LogLimit
from daemon.text import json_text, printable

_OURS = ("classifyd", "plugins")
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_TIME = "%(asctime)s "
_TEXT = "%(levelname)-7s %(message)s"


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


class JournalFormatter(logging.Formatter):
    """Puts the weight before every line of what another formatter writes, as `<4>`."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        return with_priority(self._inner.format(record), record.levelno)


def with_priority(text: str, level: int) -> str:
    """Put the journal's priority for a level of `logging` before each line."""
    priority = next((number for least, number in _PRIORITIES if level >= least), 7)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def is_journal(variable: str | None, handle: int) -> bool:
    """Tell whether a file handle is the connection to the journal that systemd's variable
    `JOURNAL_STREAM` names (`device:inode`): one that was redirected is not."""
    try:
        status = os.fstat(handle)
    except OSError:
        return False
    return variable == f"{status.st_dev}:{status.st_ino}"


def to_journal() -> bool:
    """Tell whether standard error is systemd's journal."""
    return is_journal(os.environ.get("JOURNAL_STREAM"), 2)


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
    journal = to_journal()
    text = TextFormatter(_TEXT if journal else _TIME + _TEXT, "%Y-%m-%d %H:%M:%S")
    formatter = JsonFormatter() if form == "json" else text
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    return handler
