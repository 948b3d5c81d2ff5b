"""What an image tells of itself beside its pixels: which way is up, when it was taken, its hash."""

import re
from datetime import datetime

import numpy as np
from PIL import ExifTags, Image

_Transpose = Image.Transpose
_UPRIGHT = {
    2: _Transpose.FLIP_LEFT_RIGHT,
    3: _Transpose.ROTATE_180,
    4: _Transpose.FLIP_TOP_BOTTOM,
    5: _Transpose.TRANSPOSE,
    6: _Transpose.ROTATE_270,
    7: _Transpose.TRANSVERSE,
    8: _Transpose.ROTATE_90,
}


def exif_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF data; empty where there is none or it is damaged."""
    try:
        return image.getexif()
    except Exception:  # damaged EXIF raises whatever its parser trips over; the pixels still count
        return Image.Exif()


def turn_of(exif: Image.Exif) -> Image.Transpose | None:
    """Return what makes the image upright, or None where it is already."""
    orientation = exif.get(ExifTags.Base.Orientation)
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def taken_at(exif: Image.Exif) -> str | None:
    """Return the capture time as `YYYY-MM-DDTHH:MM:SS`, with `+HH:MM` where EXIF has the zone.

    None where it is missing or malformed.
    """
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        written = str(details[ExifTags.Base.DateTimeOriginal]).strip("\0 ")
        time = datetime.strptime(written, "%Y:%m:%d %H:%M:%S")
        zone = str(details.get(ExifTags.Base.OffsetTimeOriginal, "")).strip("\0 ")
    except Exception:  # damaged EXIF, as above
        return None
    has_zone = re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", zone)
    return time.isoformat() + (zone if has_zone else "")


def perceptual_hash(image: Image.Image) -> str:
    """Return the difference hash of an upright RGB image: 64 bits as 16 hexadecimal digits.

    Each bit says whether a point of the image reduced to 9x8 grey is brighter than the one to
    its left; few differing bits mean the same picture (Krawetz, "Kind of Like That", 2013).
    """
    # Large images are first averaged in whole steps, down to six times the size: it takes half
    # the time and moves half a bit.
    small = image.resize((9, 8), Image.Resampling.BILINEAR, reducing_gap=6.0)
    grey = np.asarray(small.convert("L"))
    return np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes().hex()
