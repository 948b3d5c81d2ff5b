"""When is a file whole? One rule for every file, as pure state with an injected clock.

A file is whole when its source knows that the writer has finished (it was closed after writing,
or renamed into place, alone or with its folder), or when two looks at least `quiet_s` apart found
the same size, time and inode. The cases this must get right:

- written in pieces, slowly: each change starts the quiet time anew;
- copied with the original's times kept: an old modification time says nothing, only looks count;
- present at start, or made in a folder before it was watched: no event tells, so it is looked at
  twice;
- empty so far: a file of no bytes is about to be written, so it is never taken at once;
- vanished between two looks: forgotten here, and its row becomes `gone`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from daemon.domain import FileStat, Sighting


@dataclass(frozen=True, slots=True)
class _Look:
    stat: FileStat
    at: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What a look at the unsettled files found."""

    whole: tuple[bytes, ...]
    changed: tuple[tuple[bytes, FileStat], ...]
    vanished: tuple[bytes, ...]


def settles_at_once(sighting: Sighting) -> bool:
    """Tell whether a sighting needs no second look."""
    return sighting.whole and sighting.stat.size > 0


class Tracker:
    """The files that may still be written.

    Each quiet time has a dictionary of its own, in which the longest unchanged comes first, so
    that a hundred thousand unsettled files cost no more to ask than one.
    """

    def __init__(self) -> None:
        self._looks: dict[float, dict[bytes, _Look]] = {}
        self._quiet: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._quiet)

    def watch(self, path: bytes, stat: FileStat, now: float, quiet_s: float) -> None:
        """Begin to watch a file, or take a new look at it; an unchanged one restarts nothing."""
        known = self._looks.get(self._quiet.get(path, quiet_s), {}).get(path)
        if known is None or known.stat != stat:
            self.forget([path])
            self._quiet[path] = quiet_s
            self._looks.setdefault(quiet_s, {})[path] = _Look(stat, now)

    def forget(self, paths: Iterable[bytes]) -> None:
        """Stop watching files that settled otherwise, or vanished."""
        for path in paths:
            quiet_s = self._quiet.pop(path, None)
            if quiet_s is not None:
                del self._looks[quiet_s][path]

    def next_look(self) -> float | None:
        """Return when the next file's quiet time ends, None when none is watched."""
        firsts = (
            next(iter(looks.values())).at + quiet_s
            for quiet_s, looks in self._looks.items()
            if looks
        )
        return min(firsts, default=None)

    def look(
        self, now: float, stat_of: Callable[[bytes], FileStat | None], most: int = 500
    ) -> Settled:
        """Look again at up to `most` files whose quiet time is over.

        Those found whole or vanished are watched until `forget` is told that they are recorded.
        """
        whole, changed, vanished = [], [], []
        for path, before in list(islice(self._due(now), most)):
            stat = stat_of(path)
            if stat is None:
                vanished.append(path)
            elif stat != before.stat:
                changed.append((path, stat))
                self.watch(path, stat, now, self._quiet[path])
            else:
                whole.append(path)
        return Settled(tuple(whole), tuple(changed), tuple(vanished))

    def _due(self, now: float) -> Iterator[tuple[bytes, _Look]]:
        for quiet_s, looks in self._looks.items():
            yield from takewhile(lambda item: now >= item[1].at + quiet_s, looks.items())  # noqa: B023
