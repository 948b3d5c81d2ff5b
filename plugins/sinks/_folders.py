"""Names on disk made of labels and of names already taken."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from itertools import count

_LONGEST = 200
_LONGEST_NAME = 255


def folder_name(label: str) -> str:
    """Return a label as the name of one folder, inside no other and never hidden.

    A label that cannot be one as it stands is changed, and told from others by a few digits of
    its hash.
    """
    plain = unicodedata.normalize("NFC", label).strip()
    name = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in plain)
    name = name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore").strip()
    name = name.replace(".", "_", 1) if name.startswith(".") else name
    if name == plain and name:
        return name
    digits = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name or '_'}-{digits}"


def numbered(name: str) -> Iterator[str]:
    """Yield a file's name, then `name-2.jpg`, `name-3.jpg`, …, cut where it grows too long."""
    yield name
    stem, dot, suffix = os.fsencode(name).rpartition(b".")
    if not stem or len(suffix) > 20:
        stem, dot, suffix = os.fsencode(name), b"", b""
    for number in count(2):
        end = b"-%d%s%s" % (number, dot, suffix)
        yield os.fsdecode(stem[: _LONGEST_NAME - len(end)] + end)
