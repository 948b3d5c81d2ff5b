"""Log lines are bounded: the same trouble is said again ever more seldom, floods are cut short."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_GAP_S, _LONGEST_GAP_S = 60.0, 3600.0
_WINDOW_S, _MOST_IN_WINDOW = 60.0, 100
_MOST_REMEMBERED = 500


@dataclass(slots=True)
class _Trouble:
    """A text: when it may be said again, how long after the last time, how often it was held."""

    next_at: float
    gap_s: float
    held: int = 0


@dataclass(slots=True)
class _Window:
    """A place in the code: how many lines it wrote since `began`, and how many were held."""

    began: float
    lines: int = 0
    held: int = 0


class LogLimit(logging.Filter):
    """Holds back repeated warnings and floods; what is said next tells how much was held back.

    The same warning or error is said once a minute, then after two minutes, four, … at last once
    an hour. One place in the code says at most a hundred lines a minute, whatever they are.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._troubles: OrderedDict[str, _Trouble] = OrderedDict()
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written; adds to it what was held back."""
        if record.levelno < logging.INFO:
            return True
        text, now = record.getMessage(), self._elapsed()
        again = self._again(text, now) if record.levelno >= logging.WARNING else 0
        others = 0 if again is None else self._others((record.pathname, record.lineno), now)
        if again is None or others is None:
            return False
        notes = [f"{again} times more"] * bool(again) + [f"{others} others like it"] * bool(others)
        if notes:
            record.msg, record.args = f"{text} ({', '.join(notes)} since)", ()
        return True

    def _again(self, text: str, now: float) -> int | None:
        """Return how often a text was held back since it was said; None to hold it back again."""
        trouble = self._troubles.pop(text, None)
        if trouble is None or now > trouble.next_at + trouble.gap_s:
            held = trouble.held if trouble else 0
            trouble = _Trouble(now + _FIRST_GAP_S, _FIRST_GAP_S)
        elif now < trouble.next_at:
            trouble.held += 1
            self._troubles[text] = trouble
            return None
        else:
            held, gap_s = trouble.held, min(2 * trouble.gap_s, _LONGEST_GAP_S)
            trouble = _Trouble(now + gap_s, gap_s)
        self._troubles[text] = trouble
        if len(self._troubles) > _MOST_REMEMBERED:
            self._troubles.popitem(last=False)
        return held

    def _others(self, place: tuple[str, int], now: float) -> int | None:
        """Return how many lines of a place were held back in its last minute; None to hold this
        one back, too."""
        window, held = self._windows.get(place), 0
        if window is None or now - window.began > _WINDOW_S:
            held = window.held if window else 0
            window = self._windows[place] = _Window(now)
        if window.lines >= _MOST_IN_WINDOW:
            window.held += 1
            return None
        window.lines += 1
        return held
