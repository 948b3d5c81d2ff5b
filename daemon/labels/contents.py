"""From a path to the image it holds: the file is hashed, and decoded where its image is new.

For short-lived commands: this loads Pillow, which the daemon's main process never does.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.contracts import DecodeLimits
from daemon.domain import FileRef, FileStat, ImageFacts, Outcome
from daemon.errors import ImageError
from daemon.preprocessing import Geometry
from daemon.quiet import hush_pillow
from daemon.reading import read_file, sha256_of
from daemon.store.contents import KnownFile, KnownFiles

# Of the pixels only the perceptual hash is kept, for which this is more than enough.
_GEOMETRY = Geometry(256, 256)


@dataclass(frozen=True, slots=True)
class Content:
    """What a path holds now.

    `image_id` is its row if there is one, else `facts` are what to write. `is_listed`: the
    inbox has this version of the path.
    """

    path: bytes
    stat: FileStat
    sha256: str
    image_id: int | None = None
    facts: ImageFacts | None = None
    is_listed: bool = False


class Contents:
    """Looks at files, reading no more than it must."""

    def __init__(self, known: KnownFiles, limits: DecodeLimits) -> None:
        self._known = known
        self._limits = limits
        hush_pillow()

    def of(self, path: Path) -> Content:
        """Return what a path holds; raises `ImageError` with the reason where that is nothing."""
        where = identity(path)
        try:
            stat = FileStat.of(os.lstat(where))
        except OSError as error:
            raise ImageError(_missing(error)) from error
        known = self._known.file(where)
        is_listed = known is not None and known.stat == stat and known.is_there
        if known is not None and is_listed and known.image_id is not None:
            return Content(where, stat, known.sha256, known.image_id, is_listed=True)
        return self._read(where, stat, is_listed)

    def known(self, path: Path) -> KnownFile | None:
        """Return what the database has of a path, whether it exists or not."""
        return self._known.file(identity(path))

    def _read(self, path: bytes, stat: FileStat, is_listed: bool) -> Content:
        read = read_file(FileRef(0, path, stat), self._limits)
        if isinstance(read, Outcome):
            raise ImageError(read.reason or "changed while it was read")
        data, stat = read
        sha256 = sha256_of(data)
        image_id = self._known.image(sha256)
        facts = None if image_id is not None else self._facts(data, sha256)
        return Content(path, stat, sha256, image_id, facts, is_listed)

    def _facts(self, data: bytes, sha256: str) -> ImageFacts:
        from daemon.images.decode import decode

        pixels = np.empty((_GEOMETRY.height, _GEOMETRY.width, 3), np.uint8)
        return decode(data, sha256, _GEOMETRY, self._limits, pixels)


def identity(path: Path) -> bytes:
    """Return the bytes by which the database knows a path; a link stands for what it leads to."""
    # `Path` would follow links of folders too, and fails for names that are too long.
    given = os.path.abspath(path)  # noqa: PTH100
    is_link = os.path.islink(given)  # noqa: PTH114
    return os.fsencode(os.path.realpath(given) if is_link else given)


def _missing(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file"
    return f"cannot be read ({error.strerror})"
