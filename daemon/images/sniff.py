"""What a file is by its first bytes, never by its name."""

SNIFF_BYTES = 512
"""How much of a file's start is enough to tell."""

FORMATS = frozenset({"JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIC"})
"""What can be decoded; `sniff` names everything else in words."""

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00\x10\x00\x00\x00CR", "Canon raw photograph"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"IIU\x00", "Panasonic raw photograph"),
    (b"IIRO", "Olympus raw photograph"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw photograph"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "JPEG 2000 image"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL image"),
    (b"\xff\x0a", "JPEG XL image"),
    (b"8BPS", "Photoshop document"),
    (b"%!PS", "PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "PostScript document"),
    (b"%PDF", "PDF document"),
    (b"DDS ", "DDS texture"),
    (b"BLP1", "BLP texture"),
    (b"BLP2", "BLP texture"),
    (b"FTEX", "FTEX texture"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"icns", "icon"),
    (b"\x8aMNG", "MNG animation"),
    (b"\x01\xda", "SGI image"),
    (b"\x76\x2f\x31\x01", "OpenEXR image"),
    (b"#?RADIANCE", "Radiance image"),
    (b"SIMPLE  =", "FITS image"),
    (b"\x80\xe8\x00\x00", "PIXAR image"),
    (b"gimp xcf", "GIMP document"),
    (b"/* XPM */", "XPM image"),
    (b"P7 332", "XV thumbnail"),
    (b"PK\x03\x04", "ZIP archive or office document"),
    (b"PK\x05\x06", "empty ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old office document"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"\x00\x00\x01\xba", "MPEG video"),
    (b"ID3", "MP3 audio"),
    (b"OggS", "Ogg audio or video"),
    (b"fLaC", "FLAC audio"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
)
_NETPBM = frozenset(b"P%d" % number for number in range(1, 8)) | {b"PF", b"Pf"}
_RIFF = {b"WEBP": "WEBP", b"AVI ": "AVI video", b"WAVE": "WAV audio"}
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def sniff(head: bytes) -> str | None:
    """Name what begins with these bytes (`SNIFF_BYTES` are enough), or None where it is unknown.

    One of `FORMATS`, or what else it is in words (`PDF document`, `empty file`, `text`).
    """
    if not head:
        return "empty file"
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    return _in_container(head) or _loosely_marked(head) or _in_text(head)


def _in_container(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    return "DICOM image" if head[128:132] == b"DICM" else None


def _by_brands(head: bytes) -> str:
    """Tell the members of the ISO base media family apart by the brands they declare."""
    length = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return "AVIF"
    if any(brand in _HEIC_BRANDS for brand in brands):
        return "HEIC"
    return "Canon raw photograph" if brands[0] == b"crx " else "MP4 or QuickTime video"


def _loosely_marked(head: bytes) -> str | None:
    """Recognise formats whose mark is so short that something more must fit."""
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:2] in _NETPBM and head[2:3].isspace():
        return "Netpbm image"
    if head[4:6] in (b"\x11\xaf", b"\x12\xaf"):
        return "FLI animation"
    if head[0] == 10 and head[1:2] in (b"\x00", b"\x02", b"\x03", b"\x04", b"\x05"):
        return "PCX image"
    return None


def _in_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else only the last character is cut in two
            return None
        text = head[: error.start].decode("utf-8")
    if any(character < " " and character not in "\t\n\r\f" for character in text):
        return None
    if "<svg" in text:
        return "SVG drawing"
    return "HTML page" if "<html" in text.lower() else "text"
