"""What months of running ask for: the write-ahead log cut in quiet moments, pruning once a day."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from daemon.clock import Clock
from daemon.errors import ClassifydError
from daemon.stage import Stage

if TYPE_CHECKING:
    from daemon.pruning import Removed

_log = logging.getLogger("classifyd")
_LOOK_S = 30.0
_FIRST_PRUNE_S, _EACH_PRUNE_S = 600.0, 86_400.0
_JUMP_S = 60.0
CUT_BYTES, WARN_BYTES = 8_000_000, 256_000_000
"""Sizes of the write-ahead log: it is cut above the first, and above the second it is said that
something keeps it from being cut."""

Prune = Callable[[float, Callable[[float], bool]], "Iterable[Removed]"]
"""Prunes as of a time, and calls what it is given to pause and to ask whether to end."""


class Upkeep:
    """Looks twice a minute; `log_size` and `cut_log` are about the write-ahead log."""

    def __init__(
        self, log_size: Callable[[], int], cut_log: Callable[[], None], prune: Prune, clock: Clock
    ) -> None:
        self._log_size = log_size
        self._cut_log = cut_log
        self._prune = prune
        self._clock = clock
        self._apart = clock.now() - clock.elapsed()
        self._prune_at = clock.elapsed() + _FIRST_PRUNE_S
        self._stop = threading.Event()
        self.stage = Stage("upkeep", self._run, self._stop, limit_s=None)
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to look."""
        self.stage.start()

    def stop(self, deadline_s: float) -> None:
        """End the looking; pruning ends after the batch in hand."""
        self._stop.set()
        self.stage.join(deadline_s)

    def _run(self) -> Iterator[float]:
        yield _LOOK_S
        while not self._stop.is_set():
            try:
                self.look()
            except (ClassifydError, OSError) as error:
                _log.warning("upkeep waits: %s", error)
            except Exception:
                _log.exception("upkeep failed")
            yield _LOOK_S

    def look(self) -> None:
        """Do what is to be done now."""
        self._mind_clock()
        self._mind_log()
        if self._clock.elapsed() >= self._prune_at:
            self._prune_at = self._clock.elapsed() + _FIRST_PRUNE_S  # if this fails
            for removed in self._prune(self._clock.now(), self._stop.wait):
                if removed.count:
                    megabytes = removed.size / 1e6
                    _log.info("pruned %d %s (%.1f MB)", removed.count, removed.what, megabytes)
            self._prune_at = self._clock.elapsed() + _EACH_PRUNE_S

    def _mind_clock(self) -> None:
        """Prune by no clock that was set just now: with a wrong year everything would be old."""
        apart = self._clock.now() - self._clock.elapsed()
        if abs(apart - self._apart) > _JUMP_S:
            _log.warning("the clock was set by %+.0f s, or the machine slept", apart - self._apart)
            self._prune_at = max(self._prune_at, self._clock.elapsed() + _FIRST_PRUNE_S)
        self._apart = apart

    def _mind_log(self) -> None:
        if self._log_size() > CUT_BYTES:
            self._cut_log()
        size = self._log_size()
        was_well, self.trouble = self.trouble is None, None
        if size > WARN_BYTES:
            self.trouble = (
                f"the database's write-ahead log has grown to {size / 1e6:.0f} MB: some program"
                " has had it open in one long query or transaction; end that program"
            )
        if self.trouble is not None and was_well:
            _log.warning("%s", self.trouble)
