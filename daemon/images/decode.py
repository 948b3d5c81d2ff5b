"""One image from its bytes to the pixels that training and serving both use.

Only workers import this module. Pillow's own limit on pixels is set to the user's: some of its
readers make whole frames while they open a file, before we can look at its size.
"""

import contextlib
import io
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from daemon.contracts import DecodeLimits
from daemon.domain import ImageFacts
from daemon.errors import ImageError, NotAnImageError
from daemon.images.colour import to_rgb
from daemon.images.facts import exif_of, perceptual_hash, taken_at, turn_of
from daemon.images.fitting import fit_into
from daemon.images.sniff import FORMATS, SNIFF_BYTES, sniff
from daemon.preprocessing import Geometry

_SWAPPING = frozenset(
    {
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_270,
    }
)
# Bytes a pixel: what Pillow holds and the RGB copy; with alpha also white ground and composite;
# libjpeg keeps a progressive picture's coefficients whole, whatever the scale.
_PLAIN_BYTES, _ALPHA_BYTES, _PROGRESSIVE_BYTES = 8, 16, 6
_CUT_SHORT = ("truncated", "unexpected end", "not enough", "buffer overrun", "read past", "eof")


def decode(
    data: bytes,
    sha256: str,
    geometry: Geometry,
    limits: DecodeLimits,
    out: NDArray[np.uint8],
) -> ImageFacts:
    """Write the upright RGB pixels into `out`, `uint8[H, W, 3]` as `geometry` says.

    Returns the facts, width and height as upright; `sha256` is that of `data`. Of an animated
    or paged file the first frame counts. Raises `NotAnImageError` where the content is of no
    accepted format, `ImageError` where it is unreadable, truncated or past a limit.
    """
    name = _accepted_format(data, limits)
    _check_bytes(len(data), limits)
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # it refuses what has more than twice as many
    with _plain_reasons(name, limits):
        with Image.open(io.BytesIO(data), formats=(_opener(name),)) as image:
            width, height = image.size
            _check_pixels(image, limits)
            if limits.scaled:
                image.draft(None, _draft_size(geometry))
            _check_memory(image, width * height, limits)
            image.load()
            exif = exif_of(image)
            turn = turn_of(exif)
            upright = to_rgb(image)
        if turn is not None:
            upright = upright.transpose(turn)
        whole = fit_into(upright, geometry, out)
        if turn in _SWAPPING:
            width, height = height, width
        facts = name, width, height, taken_at(exif), perceptual_hash(whole)
    return ImageFacts(sha256, len(data), *facts)


def _accepted_format(data: bytes, limits: DecodeLimits) -> str:
    accepted = sorted(name.upper() for name in limits.formats)
    name = sniff(data[:SNIFF_BYTES])
    if name in FORMATS and name in accepted:
        return name
    what = f"{name} image" if name in FORMATS else name or "content of no known kind"
    raise NotAnImageError(f"{what}; decode.formats accepts {', '.join(accepted)}")


def _opener(name: str) -> str:
    """Return Pillow's name of the one plugin that may try the file."""
    if name != "HEIC":
        return name
    try:
        import pillow_heif
    except ImportError as error:
        raise NotAnImageError("HEIC image; pip install classifyd[heic] to read it") from error
    pillow_heif.register_heif_opener()
    return "HEIF"


def _check_bytes(size: int, limits: DecodeLimits) -> None:
    if size > limits.max_bytes:
        raise ImageError(f"too large: {size:,} bytes; decode.max_bytes is {limits.max_bytes:,}")


def _check_pixels(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise _too_many(f"{width} x {height}", limits)


def _too_many(pixels: str, limits: DecodeLimits) -> ImageError:
    return ImageError(f"too large: {pixels} pixels; decode.max_pixels is {limits.max_pixels:,}")


def _check_memory(image: Image.Image, full_pixels: int, limits: DecodeLimits) -> None:
    each = _ALPHA_BYTES if image.has_transparency_data else _PLAIN_BYTES
    needed = image.width * image.height * each
    if image.info.get("progressive"):
        needed += full_pixels * _PROGRESSIVE_BYTES
    megabytes = needed // 1_000_000
    if megabytes > limits.max_memory_mb:
        raise ImageError(
            f"too large: needs about {megabytes:,} MB to decode; decode.max_memory_mb is "
            f"{limits.max_memory_mb:,}"
        )


def _draft_size(geometry: Geometry) -> tuple[int, int]:
    """Return what a JPEG may be scaled down to while it is decoded, whichever way it lies.

    Twice the input size leaves the real reduction to the antialiased kernel.
    """
    side = 2 * max(geometry.width, geometry.height)
    return side, side


@contextlib.contextmanager
def _plain_reasons(name: str, limits: DecodeLimits) -> Iterator[None]:
    """Turn whatever a decoder raises over a damaged file into an `ImageError` in words."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise _too_many(f"{int(found[0]):,}" if found else "too many", limits) from error
    except MemoryError as error:
        raise ImageError(f"too large: not enough memory to decode this {name} image") from error
    except Exception as error:
        raise ImageError(_reason(name, error)) from error


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"damaged: begins like a {name} image, but its header cannot be read"
    message = str(error).lower()
    if isinstance(error, EOFError) or any(word in message for word in _CUT_SHORT):
        return f"truncated: the {name} image ends before all its pixels"
    return f"damaged, or of a rare kind: the pixels of this {name} image cannot be read"
