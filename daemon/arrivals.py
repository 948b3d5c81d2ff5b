"""One step of arrival: what sources say becomes rows, and unsettled files are looked at again."""

import os
from collections.abc import Callable, Sequence

from daemon.clock import Clock, utc_text
from daemon.domain import FileStat, Sighting
from daemon.listing import Listing
from daemon.settle import Tracker
from daemon.store.inbox import Inbox

_QUIET_S = 2.0
_MOST_RESUMED = 2000


def stat_of(path: bytes) -> FileStat | None:
    """Look at a path without following links; None when it is not there to be read."""
    try:
        return FileStat.of(os.lstat(path))
    except OSError:
        return None


class Arrivals:
    """Inbox and settling rule together. Called by the loop only."""

    def __init__(
        self,
        inbox: Inbox,
        clock: Clock,
        look: Callable[[bytes], FileStat | None] = stat_of,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._look = look
        self._tracker = Tracker()

    @property
    def unsettled(self) -> int:
        """How many files may still be written."""
        return len(self._tracker)

    def resume(self) -> None:
        """Take up files of the inbox that must settle: the last that came, from before a restart
        or from a `scan` beside us; those watched already are not disturbed."""
        self.watch(self._inbox.settling(_MOST_RESUMED))

    def watch(self, files: Sequence[tuple[bytes, FileStat]]) -> None:
        """Let files settle that were found changed."""
        for path, stat in files:
            self._tracker.watch(path, stat, self._clock.elapsed(), _QUIET_S)

    def found(
        self, source: str, sightings: Sequence[Sighting], listing: Listing | None = None
    ) -> int:
        """Take in sightings; returns how many file versions are new."""
        sighted = self._inbox.sighted(source, sightings, self._now(), listing)
        unsettled = {sighting.path for sighting in sighted.settling}
        self._tracker.forget(s.path for s in sightings if s.path not in unsettled)
        for sighting in sighted.settling:
            now = self._clock.elapsed()
            self._tracker.watch(sighting.path, sighting.stat, now, sighting.quiet_s)
        return sighted.fresh

    def missing(self, paths: Sequence[bytes]) -> None:
        """Take in that paths are gone, unless they are there again."""
        gone = [path for path in paths if self._look(path) is None]
        self._tracker.forget(gone)
        if gone:
            self._inbox.missing(gone, self._now())

    def listed(self, listing: Listing) -> None:
        """Judge what a complete walk has not met."""
        for paths in self._inbox.unlisted(listing):
            for start in range(0, len(paths), 500):
                self.missing(paths[start : start + 500])

    def settle(self) -> None:
        """Look again at files whose quiet time is over."""
        seen = self._tracker.look(self._clock.elapsed(), self._look)
        now = self._now()
        self._inbox.settled(seen.whole, now)
        self._inbox.revised(seen.changed, now)
        if seen.vanished:
            self._inbox.missing(seen.vanished, now)
        self._tracker.forget([*seen.whole, *seen.vanished])

    def next_look(self) -> float | None:
        """Return in how many seconds the next file is to be looked at, None for never."""
        due = self._tracker.next_look()
        return None if due is None else max(0.0, due - self._clock.elapsed())

    def _now(self) -> str:
        return utc_text(self._clock.now())
