"""Repeating what the database refuses for a reason that may pass, until it takes it."""

import logging
import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import TypeVar

from daemon.errors import PassingDatabaseError

_log = logging.getLogger("classifyd")
_WAITS_S = (1.0, 2.0, 5.0, 15.0)
T = TypeVar("T")


def rest(seconds: float, is_over: Callable[[], bool]) -> bool:
    """Wait, but not past the end; tells whether it has come."""
    end = time.monotonic() + seconds
    while not is_over() and time.monotonic() < end:
        time.sleep(0.1)
    return is_over()


class Patience:
    """A database that is locked, full or away for an hour must cost waiting, and nothing else.

    `pause(seconds)` waits and tells whether to give up, which a stopping program does; `of` is
    what is waited for.
    """

    def __init__(
        self,
        pause: Callable[[float], bool],
        of: type[PassingDatabaseError] = PassingDatabaseError,
    ) -> None:
        self._pause = pause
        self._of = of

    def insist(self, action: Callable[[], T]) -> T:
        """Return what `action` returns; it must be repeatable as long as the database refuses.

        Raises `PassingDatabaseError` only when giving up.
        """
        refused = False
        for wait_s in chain(_WAITS_S, repeat(_WAITS_S[-1])):
            try:
                result = action()
            except self._of as error:
                if not refused:
                    _log.error("%s; trying again until it works", error)
                refused = True
                if self._pause(wait_s):
                    raise
            else:
                break
        if refused:
            _log.info("the database works again")
        return result
