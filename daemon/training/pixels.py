"""Decoded images in one file on disk, for strategies that look at pixels in every pass."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.contracts import DecodeLimits
from daemon.learning.dataset import Example
from daemon.preprocessing import Geometry
from daemon.training.features import Labelled, read_pixels


class Pixels:
    """`images` is `uint8[N, H, W, 3]` in a nameless file that is gone when the process is.

    An image that can no longer be read is not `in` it. Raises `OSError` when the disk is full.
    """

    def __init__(
        self, examples: Sequence[Example], geometry: Geometry, limits: DecodeLimits, scratch: Path
    ) -> None:
        self.images = _on_disk(scratch, (len(examples), geometry.height, geometry.width, 3))
        self._row: dict[str, int] = {}
        for chunk in read_pixels(examples, geometry, limits):
            for item, image in zip(chunk.items, chunk.images, strict=True):
                row = self._row.setdefault(item.sha256, len(self._row))
                self.images[row] = image

    def rows_of(self, items: Iterable[Labelled]) -> NDArray[np.int64]:
        """Return the row numbers of these items, in their order."""
        return np.array([self._row[item.sha256] for item in items], np.int64)

    def __contains__(self, sha256: str) -> bool:
        """Tell whether this content could be read."""
        return sha256 in self._row


def _on_disk(scratch: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        # Claimed now, because running out of disk inside a mapping kills the process.
        os.posix_fallocate(file.fileno(), 0, max(1, int(np.prod(shape))))
        return np.memmap(file, np.uint8, "r+", shape=shape)
