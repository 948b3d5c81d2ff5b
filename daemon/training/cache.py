"""Features that were computed once, kept on disk for every later run.

A folder `KEY/` holds shards, each a pair of files that is never changed: `*.npy` with the rows
(`float16[n, …]`, mapped, so larger than memory if need be) and `*.jsonl` with what image each row
is of. The second is renamed into place after the first is whole, and only it makes a shard
visible: a process killed at any moment leaves no half of one, and several may add at once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.domain import ImageFacts
from daemon.feature_files import INDEX, PART, ROWS, clean_halves, mark_used
from daemon.lock import locked_folder

SHARD_BYTES = 32 << 20


def cache_key(**what: Any) -> str:
    """Name the features of one backbone, its weights and one preprocessing: 24 hex digits."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that lie in several shards, `float16[N, …]`; `rows[numbers]` reads those asked for."""

    shards: tuple[NDArray[np.float16], ...]
    places: NDArray[np.int64]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.places)

    def __getitem__(self, numbers: NDArray[np.int64]) -> NDArray[np.float16]:
        """Read the rows of these numbers, in their order."""
        found = np.empty((len(numbers), *self.shape), np.float16)
        places = self.places[numbers]
        for shard in np.unique(places[:, 0]):
            here = places[:, 0] == shard
            found[here] = self.shards[shard][places[here, 1]]
        return found


@dataclass(slots=True)
class FeatureCache:
    """The shards of one key; `shape` is that of one row."""

    folder: Path
    shape: tuple[int, ...]
    _shards: list[NDArray[np.float16]] = field(default_factory=list)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)
    _facts: dict[str, ImageFacts] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the folder, clear away what killed writers left, and read what is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mark_used(self.folder)
        clean_halves(self.folder)
        self.refresh()

    @property
    def rows_per_shard(self) -> int:
        """How many rows make a shard of about `SHARD_BYTES`."""
        return max(1, SHARD_BYTES // (2 * int(np.prod(self.shape))))

    def __contains__(self, sha256: str) -> bool:
        """Tell whether this content's features are known."""
        return sha256 in self._places

    def refresh(self) -> None:
        """Read shards that were added since; damaged ones are passed over."""
        for index in sorted(self.folder.glob(f"*{INDEX}")):
            if index.name not in self._met:
                self._met.add(index.name)
                with contextlib.suppress(OSError, ValueError, TypeError):
                    self._read(index)

    def add(self, facts: Sequence[ImageFacts], rows: NDArray[np.float16]) -> None:
        """Write one shard, all of it or nothing; raises `OSError` when the disk is full."""
        name = uuid.uuid4().hex
        lines = "".join(json.dumps(asdict(each)) + "\n" for each in facts)
        with locked_folder(self.folder, fcntl.LOCK_SH):
            self._publish(name + ROWS, lambda file: np.save(file, rows))
            self._publish(name + INDEX, lambda file: file.write(lines.encode()))
        self.refresh()

    def take(self, sha256s: Collection[str]) -> Rows:
        """Return the rows of these contents, in their order; each must be known."""
        places = np.array([self._places[each] for each in sha256s], np.int64).reshape(-1, 2)
        return Rows(tuple(self._shards), places, self.shape)

    def facts(self, sha256: str) -> ImageFacts:
        """Return what is known of a content that is in the cache."""
        return self._facts[sha256]

    def _read(self, index: Path) -> None:
        entries = [ImageFacts(**json.loads(line)) for line in index.read_text("utf-8").splitlines()]
        rows = np.load(index.with_suffix(ROWS), mmap_mode="r", allow_pickle=False)
        if rows.shape != (len(entries), *self.shape) or rows.dtype != np.float16:
            return
        for row, facts in enumerate(entries):
            self._places[facts.sha256] = len(self._shards), row
            self._facts[facts.sha256] = facts
        self._shards.append(rows)

    def _publish(self, name: str, write: Any) -> None:
        part = self.folder / (name + PART)
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
