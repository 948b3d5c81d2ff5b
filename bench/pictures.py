"""The images that are measured with: real ones where they are at hand, drawn ones otherwise."""

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).parents[2] / "shared" / "data"
PHOTOS = DATA / "photos"
SMALL = DATA / "cifar10" / "train.zip"


@dataclass(frozen=True)
class Pictures:
    """Image files in a folder, in order, and what they are in words."""

    files: tuple[Path, ...]
    what: str


def photographs(folder: Path, count: int) -> Pictures:
    """Put up to `count` photographs into `folder`; drawn ones if there are no real ones."""
    folder.mkdir()
    found = sorted(path for path in PHOTOS.glob("*") if path.is_file())[:count]
    if found:
        return Pictures(tuple(_copy(path, folder) for path in found), f"{len(found)} photographs")
    drawn = _write(folder, (_drawn(number, 375, 500) for number in range(count)))
    return Pictures(drawn, f"{count} drawn images of 500 x 375 pixels")


def varied(pictures: Pictures, folder: Path, count: int, salt: str) -> tuple[Path, ...]:
    """Put `count` files into `folder` that look like the pictures, each with bytes of its own.

    What follows the end of a picture is not decoded, but makes it another image.
    """
    folder.mkdir(parents=True)
    contents = [(path.read_bytes(), path.suffix) for path in pictures.files[:count]]
    files = []
    for number in range(count):
        data, suffix = contents[number % len(contents)]
        path = folder / f"{salt}-{number:06d}{suffix}"
        path.write_bytes(data + path.name.encode())
        files.append(path)
    return tuple(files)


def small_images(folder: Path, count: int) -> Pictures:
    """Put `count` different images of 32 x 32 pixels into `folder`, real as far as they go."""
    folder.mkdir()
    real = list(islice(_zipped(), count))
    drawn = (_drawn(number, 32, 32) for number in range(count - len(real)))
    files = _write(folder, iter(real)) + _write(folder, drawn, len(real))
    what = "CIFAR-10 images" if len(real) == count else "drawn images"
    return Pictures(files, f"{count:,} {what} of 32 x 32 pixels")


def _copy(path: Path, folder: Path) -> Path:
    return Path(shutil.copy(path, folder / path.name))


def _write(folder: Path, contents: Iterator[bytes], first: int = 0) -> tuple[Path, ...]:
    files = []
    for number, content in enumerate(contents, first):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(content)
        files.append(path)
    return tuple(files)


def _zipped() -> Iterator[bytes]:
    if not SMALL.is_file():
        return
    with zipfile.ZipFile(SMALL) as archive:
        seen: set[int] = set()
        for entry in archive.infolist():
            if not entry.is_dir() and entry.CRC not in seen:
                seen.add(entry.CRC)
                yield archive.read(entry)


def _drawn(number: int, height: int, width: int) -> bytes:
    """Return a JPEG of coarse colours under fine grain, about as large as a photograph's."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(_noise(rng, 6, 8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.fromarray(_noise(rng, height, width))
    file = BytesIO()
    Image.blend(coarse, grain, 0.12).save(file, "JPEG", quality=90)
    return file.getvalue()


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (height, width, 3), np.uint8)
