"""Hashes of the files of a folder, kept in it, as `sha256sum` writes and checks them."""

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write down the hash of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def altered(folder: Path) -> str | None:
    """Return the name of a file that is not as it was written; None where all are, or where
    nothing was written down."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        wanted, _, name = line.partition("  ")
        try:
            found = _sha256(folder / name)
        except OSError:
            return name
        if found != wanted:
            return name
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
