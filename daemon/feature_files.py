"""Cached features as files: what a shard consists of, and which go when they take too much disk.

Nothing here knows what is in them, so that removing some loads nothing heavy;
`daemon.training.cache` reads and writes them.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.lock import locked_folder

ROWS, INDEX, PART = ".npy", ".jsonl", ".part"
_USED = "used"


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """A pair of files, in the order in which shards go: unused longest first, then the oldest."""

    used_at: float
    made_at: float
    index: Path
    size: int

    def remove(self) -> bool:
        """Remove it, unless somebody adds to its folder now; the index first, without which the
        rows are nothing. Who has the rows open goes on reading them."""
        with contextlib.suppress(BlockingIOError), locked_folder(self.index.parent, _AT_ONCE):
            self.index.unlink(missing_ok=True)
            self.index.with_suffix(ROWS).unlink(missing_ok=True)
            return True
        return False


_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB


def mark_used(folder: Path) -> None:
    """Note that the features in this folder were needed now."""
    with contextlib.suppress(OSError):  # a disk that is full must not keep them from being read
        (folder / _USED).touch()


def clean_halves(folder: Path) -> None:
    """Remove the halves of shards that killed writers left, unless somebody is writing now."""
    with contextlib.suppress(BlockingIOError), locked_folder(folder, _AT_ONCE):
        for rows in folder.glob(f"*{ROWS}"):
            if not rows.with_suffix(INDEX).exists():
                rows.unlink()
        for part in folder.glob(f"*{PART}"):
            part.unlink()


def excess(root: Path, most: int) -> list[Shard]:
    """Return the shards that must go for the folders below `root` to hold at most `most` bytes."""
    shards = sorted(_shards(root))
    too_much = sum(shard.size for shard in shards) - most
    going: list[Shard] = []
    while too_much > 0 and shards:
        going.append(shards.pop(0))
        too_much -= going[-1].size
    return going


def _shards(root: Path) -> Iterator[Shard]:
    for index in root.glob(f"*/*{INDEX}"):
        with contextlib.suppress(FileNotFoundError):
            stat, rows = index.stat(), index.with_suffix(ROWS).stat()
            yield Shard(_used_at(index.parent), stat.st_mtime, index, stat.st_size + rows.st_size)


def _used_at(folder: Path) -> float:
    try:
        return (folder / _USED).stat().st_mtime
    except FileNotFoundError:
        return folder.stat().st_mtime
