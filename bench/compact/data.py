"""Class folders, or a zip of them, as decoded pixels; decoded once and kept in `bench/out`."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.contracts import DecodeLimits
from daemon.images.decode import decode
from daemon.preprocessing import Geometry

OUT = Path(__file__).parents[1] / "out" / "compact"
LIMITS = DecodeLimits(
    max_pixels=50_000_000,
    max_bytes=50_000_000,
    max_memory_mb=1024,
    timeout_s=30.0,
    threads=1,
    formats=frozenset({"jpeg", "png", "webp"}),
)


def load(source: Path, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Return pixels `uint8[N, size, size, 3]`, class numbers `int64[N]` and the class names.

    `source` is a folder of class folders or a zip of one; classes are sorted by name, images
    within them too, and decoding is the one that serves.
    """
    stat = source.stat()
    key = hashlib.sha256(f"{source.resolve()} {stat.st_mtime_ns} {size}".encode()).hexdigest()
    cache = OUT / f"pixels-{key[:12]}.npz"
    if not cache.exists():
        OUT.mkdir(parents=True, exist_ok=True)
        with cache.with_suffix(".part").open("wb") as file:
            np.savez(file, **decoded(source, size))
        cache.with_suffix(".part").rename(cache)
    with np.load(cache) as stored:
        return stored["pixels"], stored["labels"], [str(name) for name in stored["classes"]]


def decoded(source: Path, size: int) -> dict[str, NDArray[np.generic]]:
    """Return `pixels`, `labels` and `classes` as `load` does, without keeping them."""
    images = list(_files(source))
    classes = sorted({label for label, _ in images})
    pixels = np.empty((len(images), size, size, 3), np.uint8)
    for (_, data), out in zip(images, pixels, strict=True):
        decode(data, hashlib.sha256(data).hexdigest(), Geometry(size, size), LIMITS, out)
    labels = np.array([classes.index(label) for label, _ in images])
    return {"pixels": pixels, "labels": labels, "classes": np.array(classes)}


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted([*source.glob("*"), *source.glob("*/*")]):
            if path.is_file():
                yield path.parent.name, path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield name.split("/")[-2], archive.read(name)
