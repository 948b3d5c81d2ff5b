"""Bundles on their way from one machine to another: a ZIP archive each.

An archive comes from a stranger until its manifest has been read and every hash agrees. Of it only
the files that the manifest lists are taken, by names that cannot lead out of a folder, and no more
bytes than it says.
"""

import contextlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from daemon.artifacts import MANIFEST_FILE, read_manifest
from daemon.durable import scratch, sync
from daemon.errors import BundleError, UsageError
from daemon.manifest import parse_manifest

_MOST_MANIFEST_BYTES = 1 << 26
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises over archives that are damaged, encrypted, or packed in a rare way."""


def pack(bundle: Path, archive: Path) -> None:
    """Write a bundle into a new ZIP archive, in a folder of the bundle's name.

    Raises `BundleError` where the bundle is damaged, `UsageError` where a file lies there or its
    folder does not exist.
    """
    manifest = read_manifest(bundle)
    if not archive.parent.is_dir():
        raise UsageError(f"{archive}: there is no folder {archive.parent}; make it first")
    part = archive.with_name(f".{archive.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as file:
            for name in (MANIFEST_FILE, *manifest.files):
                file.write(bundle / name, f"{bundle.name}/{name}")
        sync(part)
        _place(part, archive)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def unpacked(archive: Path, folder: Path) -> Iterator[Path]:
    """Give a bundle's folder, verified, somewhere in `folder` until the end of the block.

    Raises `BundleError` where the archive is damaged or holds no bundle.
    """
    with scratch(folder) as place:
        try:
            with zipfile.ZipFile(archive) as file:
                _unpack(file, archive, place)
        except _UNREADABLE as error:
            raise _refusal(archive, f"cannot be read as a ZIP archive ({error})") from error
        read_manifest(place)
        yield place


def _unpack(file: zipfile.ZipFile, archive: Path, place: Path) -> None:
    found = [name for name in file.namelist() if name.split("/")[-1] == MANIFEST_FILE]
    if len(found) != 1:
        raise _refusal(archive, f"holds {len(found)} files {MANIFEST_FILE}, not one")
    with file.open(found[0]) as source:
        data = source.read(_MOST_MANIFEST_BYTES)
    (place / MANIFEST_FILE).write_bytes(data)
    beside = found[0].removesuffix(MANIFEST_FILE)
    for name, stored in parse_manifest(data, archive).files.items():
        try:
            info = file.getinfo(beside + name)
        except KeyError as error:
            raise _refusal(archive, f"{name} is missing") from error
        with file.open(info) as source, (place / name).open("wb") as target:
            _copy(source, target, stored.size)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Copy no more than a byte past `size`, which is enough for its hash to be wrong."""
    left = size + 1
    while left > 0 and (part := source.read(min(left, 1 << 20))):
        target.write(part)
        left -= len(part)


def _place(part: Path, archive: Path) -> None:
    try:
        archive.hardlink_to(part)  # unlike a rename it replaces nothing
    except FileExistsError as error:
        raise UsageError(f"{archive} is there already; name another file") from error
    except OSError:  # no hard links here
        if archive.exists():
            raise UsageError(f"{archive} is there already; name another file") from None
        shutil.copyfile(part, archive)
    sync(archive.parent)


def _refusal(archive: Path, what: str) -> BundleError:
    return BundleError(f"{archive}: {what}; export the model again where it comes from")
