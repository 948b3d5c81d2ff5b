"""Files are known by what they hold; what is ignored is told by name."""

import io
from pathlib import Path

import pytest
from PIL import Image

from daemon.images.sniff import FORMATS, SNIFF_BYTES, sniff

AWKWARD = Path(__file__).parents[1].parent / "shared" / "data" / "awkward-images"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_every_format_that_pillow_writes_is_recognised(name):
    file = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(file, name)
    assert sniff(file.getvalue()[:64]) == name
    assert name in FORMATS


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty file"),
        (b"%PDF-1.7\n", "PDF document"),
        (b"PK\x03\x04\x14\x00", "ZIP archive or office document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript document"),
        (b"8BPS\x00\x01", "Photoshop document"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000 image"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "Canon raw photograph"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "AVIF"),
        (b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom", "MP4 or QuickTime video"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "WAV audio"),
        (b"P6\n2 2\n255\n", "Netpbm image"),
        (b'<?xml version="1.0"?><svg ', "SVG drawing"),
        (b"<!DOCTYPE html><HTML>", "HTML page"),
        ("Grüße aus dem Süden\n".encode(), "text"),
        (("ü" * 40).encode()[:63], "text"),
        (b"BM is how this note begins", "text"),
        (b"\xfe\xed\xfa\xce\x00\x01", None),
    ],
)
def test_other_contents_are_named_in_words(head, name):
    assert sniff(head) == name


@pytest.mark.skipif(not AWKWARD.exists(), reason="needs the awkward images in shared/data")
def test_a_name_that_lies_is_not_believed():
    kinds = {
        path.name: sniff(path.read_bytes()[:SNIFF_BYTES])
        for path in AWKWARD.iterdir()
        if path.suffix in (".dds", ".eps", ".fli", ".ico", ".jp2", ".psd", ".pdf", ".tga")
    }
    assert kinds
    assert not FORMATS & set(kinds.values())
