"""Time as an injected value: tests move it, the daemon takes the real one."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time in seconds; `elapsed` never jumps, `now` is the wall clock."""

    def elapsed(self) -> float:
        """Seconds from an arbitrary start, never going back."""

    def now(self) -> float:
        """Seconds since 1970 UTC."""


class SystemClock:
    """The machine's own clocks."""

    def elapsed(self) -> float:
        """Read the monotonic clock."""
        return time.monotonic()

    def now(self) -> float:
        """Read the wall clock."""
        return time.time()


def utc_text(seconds: float) -> str:
    """Write seconds since 1970 as the database does: `2026-05-01T12:00:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def seconds_between(then: str, now: str) -> float:
    """Return the seconds from one time to a later one, as the database writes them; 0 where the
    clock was set back."""
    passed = datetime.fromisoformat(now) - datetime.fromisoformat(then)
    return max(0.0, passed.total_seconds())
