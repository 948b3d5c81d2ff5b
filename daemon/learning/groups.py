"""Which images show the same: near-duplicates by perceptual hash, and neighbours in a burst.

Such images must stand on one side of the split, or the holdout measures what was learned by
heart. The hash is the 64-bit difference hash (Krawetz, "Kind of Like That", 2013) that every
image has in `image.phash`; docs/explanation/gate.md tells how its threshold was chosen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BITS = 64


class Comparable(Protocol):
    """What grouping needs to know of an image."""

    @property
    def sha256(self) -> str:
        """The content, in hexadecimal."""

    @property
    def phash(self) -> str:
        """The difference hash, 16 hexadecimal digits."""

    @property
    def taken_at(self) -> str | None:
        """The EXIF capture time; never the file's time, which copying makes equal."""

    @property
    def folder(self) -> str:
        """The folder of the file."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """When two images count as the same.

    `differing`: most bits of the hash (0 to 15) that may differ. `telling`: fewest bits that
    must be set, and be unset, for a hash to say anything: flat pictures all hash nearly alike.
    `burst_s`: most seconds between two pictures of a burst.
    """

    differing: int = 4
    telling: int = 8
    burst_s: float = 5.0


DEFAULT = Likeness()


def groups(
    images: Sequence[Comparable], seeds: Iterable[str] | None = None, likeness: Likeness = DEFAULT
) -> list[tuple[str, ...]]:
    """Return the connected groups of these images as sorted tuples of SHA-256.

    An image without a like is a group of its own. With `seeds` (SHA-256) only the groups that
    hold one of them are looked for, which takes far less time where the seeds are few.
    """
    import numpy as np

    links = _Links(images, likeness)
    wanted = None if seeds is None else set(seeds)
    unseen = np.ones(len(images), bool)
    found = []
    for start, image in enumerate(images):
        if unseen[start] and (wanted is None or image.sha256 in wanted):
            members = _flood(start, links, unseen)
            found.append(tuple(sorted({images[member].sha256 for member in members})))
    return found


def near_duplicates(
    images: Sequence[Comparable], likeness: Likeness = DEFAULT
) -> list[tuple[str, ...]]:
    """Return the groups of two or more contents that look alike, bursts left out."""
    looks = Likeness(likeness.differing, likeness.telling, burst_s=-1)
    return [group for group in groups(images, None, looks) if len(group) > 1]


def _flood(start: int, links: "_Links", unseen: "NDArray[np.bool_]") -> list[int]:
    unseen[start] = False
    members = [start]
    for member in members:  # grows while it is walked
        for other in links.of(member, unseen):
            if unseen[other]:
                unseen[other] = False
                members.append(other)
    return members


class _Links:
    """Answers which images are directly like one: by hash, by time, or by being the same bytes."""

    def __init__(self, images: Sequence[Comparable], likeness: Likeness) -> None:
        self._hashes = _Hashes([image.phash for image in images], likeness)
        self._beside: dict[int, list[int]] = {}
        for one, other in (*_bursts(images, likeness.burst_s), *_same(images)):
            self._beside.setdefault(one, []).append(other)
            self._beside.setdefault(other, []).append(one)

    def of(self, image: int, among: "NDArray[np.bool_]") -> list[int]:
        return [*self._hashes.near(image, among), *self._beside.get(image, ())]


class _Hashes:
    """Finds hashes that differ in few bits.

    Two hashes that differ in at most k bits agree wholly in one of k + 1 bands of bits, so only
    those that share a band are compared.
    """

    def __init__(self, texts: Sequence[str], likeness: Likeness) -> None:
        import numpy as np

        self._hashes = np.array([int(text, 16) for text in texts], np.uint64)
        self._differing = likeness.differing
        set_bits = np.bitwise_count(self._hashes)
        self._telling = np.abs(set_bits.astype(int) - _BITS // 2) <= _BITS // 2 - likeness.telling
        rows = np.flatnonzero(self._telling)
        self._bands = [_Band(self._hashes, rows, *cut) for cut in _cuts(likeness.differing + 1)]

    def near(self, image: int, among: "NDArray[np.bool_]") -> list[int]:
        import numpy as np

        if not self._telling[image]:
            return []
        own = self._hashes[image]
        found: list[int] = []
        for band in self._bands:
            rows = band.sharing(own)
            rows = rows[among[rows]]
            differing = np.bitwise_count(self._hashes[rows] ^ own)
            found += rows[differing <= self._differing].tolist()
        return found


class _Band:
    """Rows in the order of some of their hashes' bits: `width` of them from bit `shift`."""

    def __init__(
        self, hashes: "NDArray[np.uint64]", rows: "NDArray[np.int64]", shift: int, width: int
    ) -> None:
        import numpy as np

        self._shift, self._mask = np.uint64(shift), np.uint64((1 << width) - 1)
        keys = self._key(hashes[rows])
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def sharing(self, own: "np.uint64") -> "NDArray[np.int64]":
        key = self._key(own)
        start = self._keys.searchsorted(key, "left")
        return self._rows[start : self._keys.searchsorted(key, "right")]

    def _key(self, hashes: "NDArray[np.uint64] | np.uint64") -> "NDArray[np.uint64]":
        import numpy as np

        return np.asarray((hashes >> self._shift) & self._mask)


def _cuts(bands: int) -> Iterator[tuple[int, int]]:
    edges = [round(_BITS * number / bands) for number in range(bands + 1)]
    for start, end in pairwise(edges):
        yield start, end - start


def _bursts(images: Sequence[Comparable], seconds: float) -> Iterator[tuple[int, int]]:
    """Yield neighbours in time; zoned and zoneless times are never compared."""
    taken: dict[tuple[str, bool], list[tuple[datetime, int]]] = {}
    for number, image in enumerate(images):
        if (time := _moment(image.taken_at)) is not None:
            taken.setdefault((image.folder, time.tzinfo is None), []).append((time, number))
    for shots in taken.values():
        for (earlier, one), (later, other) in pairwise(sorted(shots)):
            if (later - earlier).total_seconds() <= seconds:
                yield one, other


def _moment(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    # A camera whose clock was never set starts at midnight of some first of January.
    unset = (time.month, time.day, time.hour, time.minute, time.second) == (1, 1, 0, 0, 0)
    return None if unset else time


def _same(images: Sequence[Comparable]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for number, image in enumerate(images):
        if (earlier := first.setdefault(image.sha256, number)) != number:
            yield earlier, number
