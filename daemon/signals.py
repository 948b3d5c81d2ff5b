"""Signals as flags: a handler only notes that it was called; the loop looks."""

import signal
from types import FrameType
from typing import Any


class Signals:
    """Notes SIGTERM, SIGINT and SIGHUP while entered, and restores the old handlers after."""

    def __init__(self) -> None:
        self.stop_asked = False
        self.reload_asked = False
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        """Begin to note signals (main thread only)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._ask_stop)
        self._old[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._ask_reload)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore what was there before."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_asked = True

    def _ask_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload_asked = True

    def take_reload(self) -> bool:
        """Return whether a reload was asked for, and forget it."""
        asked, self.reload_asked = self.reload_asked, False
        return asked
