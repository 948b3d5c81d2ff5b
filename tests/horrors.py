"""Files that strangers may drop, each with the end that it must come to.

`HORRORS` are made by `make`, which returns those that this machine lets one make. An `end` is the
final state and a pattern for its reason; `NO_ROW` is for what is no file.
"""

import contextlib
import io
import os
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

DONE = ("done", "")
NO_ROW = None
End = tuple[str, str] | None


@dataclass(frozen=True)
class Horror:
    """One entry of a folder: its name, who makes it at a path, and how it must end."""

    name: bytes
    make: Callable[[bytes], None]
    end: End


def make(folder: Path, outside: Path) -> list[Horror]:
    """Make all horrors in `folder`; what links lead to is made in `outside`."""
    made = []
    for horror in (*_images(), *_formats(), *_names(), *_entries(folder, outside)):
        with contextlib.suppress(PermissionError):
            horror.make(os.fsencode(folder) + b"/" + horror.name)
            made.append(horror)
    return made


def _data(data: bytes) -> Callable[[bytes], None]:
    def write(path: bytes) -> None:
        with open(path, "wb") as file:  # noqa: PTH123 (bytes)
            file.write(data)

    return write


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(number: int = 0, side: int = 24) -> Image.Image:
    """An image of a content of its own."""
    pixels = np.random.default_rng(number).integers(100, 140, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# --- images that are larger, slower or other than they look


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *extra: bytes, colour: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = [_png_chunk(b"IHDR", head), *extra, _png_chunk(b"IDAT", pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _png_chunk(b"IEND", b"")


def _gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0\0\0\0\xff\xff\xff"
    dispose = b"\x21\xf9\x04\x08\0\0\0\0"
    return head + dispose + b"\x2c" + struct.pack("<HHHH", 0, 0, *frame) + b"\0\x02\x02L\x01\0;"


def _webp_header(side: int) -> bytes:
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg_header(side: int) -> bytes:
    """A whole JPEG that claims to be of another size."""
    data = bytearray(_saved(picture(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def _tiff(side: int, next_page: int = 0) -> bytes:
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1)]
    tags += [(278, side), (279, 64)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    page = struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_page)
    return (b"II*\0" + struct.pack("<I", 8) + page).ljust(200, b"\0") + bytes(64)


def _scans(side: int, copies: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: each goes over every pixel."""
    data = _saved(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=1)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * copies + data[-2:]


def _gif_frames(count: int) -> bytes:
    head = b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff"
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02D\x01\0"
    return head + frame * count + b";"


def _png_frames(count: int) -> bytes:
    pixels = zlib.compress(bytes(6))
    place = struct.pack(">IIIIHHBB", 2, 2, 0, 0, 1, 50, 0, 0)
    chunks = [_png_chunk(b"acTL", struct.pack(">II", count, 0))]
    chunks.append(_png_chunk(b"fcTL", struct.pack(">I", 0) + place))
    later = b"".join(
        _png_chunk(b"fcTL", struct.pack(">I", number) + place)
        + _png_chunk(b"fdAT", struct.pack(">I", number + 1) + pixels)
        for number in range(1, 2 * count - 1, 2)
    )
    whole = _png(2, 2, pixels, *chunks)
    return whole[:-12] + later + whole[-12:]


def _webp_frames(count: int) -> bytes:
    image = _saved(Image.new("RGB", (2, 2)), "WEBP", lossless=True)[12:]
    frame = bytes(6) + b"\1\0\0" * 2 + b"\x32\0\0\0" + image
    frames = (b"ANMF" + struct.pack("<I", len(frame)) + frame) * count
    head = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\1\0\0" * 2
    body = b"WEBP" + head + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _images() -> Iterator[Horror]:
    pixels = ("quarantined", r"decode\.max_pixels")
    broken = ("quarantined", "damaged|truncated")
    memory = ("quarantined", r"decode\.max_memory_mb|not enough memory")
    zeros, rows = zlib.compress(bytes(1 << 26)), zlib.compress(bytes(72))
    yield Horror(b"bomb.png", _data(_png(60_000, 60_000, zeros)), pixels)
    yield Horror(b"bomb-alpha.png", _data(_png(10_000, 10_000, zeros, colour=6)), memory)
    text = _png_chunk(b"zTXt", b"Comment\0\0" + zeros)
    yield Horror(b"bomb-text.png", _data(_png(8, 8, rows, text)), broken)
    profile = _png_chunk(b"iCCP", b"profile\0\0" + zeros)
    yield Horror(b"bomb-profile.png", _data(_png(8, 8, rows, profile)), broken)
    yield Horror(b"bomb-frame.gif", _data(_gif((5, 5), (60_000, 60_000))), pixels)
    yield Horror(b"bomb-screen.gif", _data(_gif((60_000, 60_000), (5, 5))), pixels)
    yield Horror(b"bomb.webp", _data(_webp_header(60_000)), ("quarantined", ""))
    yield Horror(b"bomb.jpg", _data(_jpeg_header(60_000)), pixels)
    yield Horror(b"bomb.tiff", _data(_tiff(60_000)), pixels)
    yield Horror(b"pages-in-a-circle.tiff", _data(_tiff(8, next_page=8)), DONE)
    size = struct.pack("<iiHH", 60_000, 60_000, 1, 24) + bytes(24)
    yield Horror(b"bomb.bmp", _data(b"BM" + bytes(12) + struct.pack("<I", 40) + size), pixels)
    slow = ("quarantined", r"decode\.timeout_s")
    yield Horror(b"bomb-scans.jpg", _data(_scans(6_000, 12_000)), slow)
    yield Horror(b"10000-frames.gif", _data(_gif_frames(10_000)), DONE)
    yield Horror(b"10000-frames.png", _data(_png_frames(10_000)), DONE)
    yield Horror(b"10000-frames.webp", _data(_webp_frames(10_000)), DONE)
    yield Horror(b"2GB.jpg", _sparse, ("quarantined", r"decode\.max_bytes"))
    yield Horror(b"empty.jpg", _data(b""), ("ignored", "empty file"))
    yield Horror(b"zeros.jpg", _data(bytes(1 << 20)), ("ignored", "no known kind"))
    yield Horror(b"cut.jpg", _data(_saved(picture(1, 200), "JPEG")[:900]), broken)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"):
        data = _saved(picture(2), kind)[:40]
        yield Horror(f"mark-only.{kind.lower()}".encode(), _data(data), ("quarantined", ""))


def _sparse(path: bytes) -> None:
    _data(b"\xff\xd8\xff\xe0")(path)
    os.truncate(path, 2 << 30)


# --- what is two things at once, or would start a program


def _formats() -> Iterator[Horror]:
    jpeg, gif, png = (_saved(picture(3), kind) for kind in ("JPEG", "GIF", "PNG"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jpg", jpeg)
    yield Horror(b"jpeg-and-zip.jpg", _data(jpeg + packed.getvalue()), DONE)
    yield Horror(b"gif-and-script.gif", _data(gif[:-1] + b"!\xfe\x06=1;//\n\0;"), DONE)
    page = b"<html><script>alert(1)</script></html>"
    yield Horror(b"png-and-html.png", _data(png + page), DONE)
    comment = b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(sh)>>>>endobj"
    block = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    yield Horror(b"jpeg-and-pdf.jpg", _data(jpeg[:2] + block + jpeg[2:]), DONE)
    ignored = {
        "jpeg-in-pdf.jpg": (b"%PDF-1.4\n" + jpeg, "PDF"),
        "archive.png": (packed.getvalue(), "ZIP"),
        "page.jpg": (page, "HTML"),
        "program.jpg": (b"\x7fELF" + bytes(60), "program"),
        "script.jpg": (b"#!/bin/sh\ntouch canary\n", "text"),
        "pipe.eps": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%gs) (r) file",
            "Post",
        ),
        "preview.jpg": (b"\xc5\xd0\xd3\xc6" + bytes(26) + b"%!PS-Adobe-3.0 EPSF-3.0\n", "Post"),
        "drawing.wmf": (b"\xd7\xcd\xc6\x9a" + bytes(60), "no known kind"),
        "drawing.emf": (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60), "no known kind"),
        "entity.svg": (
            b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
            "SVG",
        ),
        "magick.png": (b"push graphic-context\nfill 'url(https://h/\"|gs\")'\n", "text"),
    }
    for name, (data, says) in ignored.items():
        yield Horror(name.encode(), _data(data), ("ignored", says))


# --- names


NAMES = (
    b"two\nlines.png",
    b"\x1b]0;title\x07\x1b[2J\x1b[31mred.png",
    b"back\x08\x7f\r\t.png",
    "csi\u009b2J.png".encode(),
    "right\u202egnp.exe.png".encode(),
    b"'single' \"double\" `back`.png",
    b"$(touch canary);touch canary|touch canary&.png",
    b"x'); DROP TABLE file;--.png",
    b"=HYPERLINK(1)+cmd|' 'A1.png",
    b"-rf --config x.png",
    b"%s%n{0}{path}.png",
    b"caf\xe9\xff\xfe.png",
    b"\xed\xa0\x80.png",  # half of a surrogate pair
    "e\u0301 \U0001f408.png".encode(),
    b" ",
    b"n" * 251 + b".png",
    b"\xf0\x9f\x90\x88" * 63 + b"png",
)


def _names() -> Iterator[Horror]:
    for number, name in enumerate(NAMES):
        yield Horror(name, _data(_saved(picture(100 + number), "PNG")), DONE)


# --- what is no file of its own


def _entries(folder: Path, outside: Path) -> Iterator[Horror]:
    outside.mkdir(exist_ok=True)
    secret, within = outside / "secret.png", outside / "folder"
    within.mkdir()
    for number, path in enumerate((secret, within / "secret.png", outside / "linked.png")):
        picture(200 + number).save(path)
    yield Horror(b"hard-link.png", lambda path: os.link(outside / "linked.png", path), DONE)
    yield Horror(b"hard-link-again.png", lambda path: os.link(outside / "linked.png", path), DONE)
    link = ("ignored", "symbolic link")
    for name, target in {
        "link.png": secret,
        "folder-link": within,
        "dangling.png": outside / "nothing",
        "itself.png": Path("itself.png"),
        "up.png": Path(".."),
        "memory.png": Path("/proc/self/mem"),
    }.items():
        yield Horror(name.encode(), _link_to(target), link)
    yield Horror(b"pipe.png", os.mkfifo, ("ignored", "named pipe"))
    yield Horror(b"socket.png", _socket, ("ignored", "socket"))
    yield Horror(b"null.png", _device, ("ignored", "device"))
    yield Horror(b"folder.png", os.mkdir, NO_ROW)
    yield Horror(b"old.png", _dated(picture(300), -(1 << 31)), DONE)
    yield Horror(b"future.png", _dated(picture(301), 1 << 33), DONE)


def _link_to(target: Path) -> Callable[[bytes], None]:
    return lambda path: Path(os.fsdecode(path)).symlink_to(target)


def _socket(path: bytes) -> None:
    place = Path(os.fsdecode(path))
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(place.parent):
        listening.bind(place.name)  # an address has room for no more


def _device(path: bytes) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _dated(image: Image.Image, seconds: int) -> Callable[[bytes], None]:
    def write(path: bytes) -> None:
        _data(_saved(image, "PNG"))(path)
        os.utime(path, (seconds, seconds))

    return write


def deep_file(folder: Path, image: Image.Image) -> bytes:
    """Put an image so deep below `folder` that no system call takes its whole path."""
    step, path = b"d" * 250, os.fsencode(folder)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(step, dir_fd=at)
        below = os.open(step, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at, path = below, path + b"/" + step
    handle = os.open(b"deep.png", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(handle, _saved(image, "PNG"))
    os.close(handle)
    os.close(at)
    return path + b"/deep.png"
