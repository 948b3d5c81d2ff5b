"""How often a file that failed for a reason that may pass is tried, and after what wait."""

from daemon.clock import Clock, utc_text

WAITS_S = (2.0, 10.0, 60.0, 600.0)
"""Seconds before the second, third, … try; after the last one the file is quarantined."""


class Tries:
    """Waits that grow, then no more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def next_try_at(self, attempts: int) -> str | None:
        """Return when a file that has failed `attempts` times is tried again, None for never."""
        if attempts > len(WAITS_S):
            return None
        return utc_text(self._clock.now() + WAITS_S[attempts - 1])
