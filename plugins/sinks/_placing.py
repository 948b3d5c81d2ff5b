"""Putting a file where nothing is yet: whole or not at all, and never over another one."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EMPTY = hashlib.sha256().hexdigest()
"""The hash of no bytes at all."""

_BLOCK = 1 << 20
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What a file system says that cannot link, or not across: then bytes are copied."""


class OtherFileError(Exception):
    """What is at the path is not the file that was meant."""


class Original:
    """A file opened for reading, which may be replaced or removed at any moment."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self.status = os.fstat(handle)

    def is_in_place(self) -> bool:
        """Tell whether the path still has the file that was opened, unchanged since."""
        try:
            return _version(self.path.lstat()) == _version(self.status)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def sha256(self, copy_to: int | None = None) -> str:
        """Read the file to its end and return its hash; `copy_to` is a handle for the bytes."""
        digest, position = hashlib.sha256(), 0
        while block := self._read(position):
            digest.update(block)
            position += len(block)
            if copy_to is not None:
                _write(copy_to, block)
        return digest.hexdigest()

    def _read(self, position: int) -> bytes:
        try:
            return os.pread(self._handle, _BLOCK, position)
        except OSError as error:  # which does not say of which file
            raise OSError(error.errno, error.strerror, str(self.path)) from error


@contextmanager
def opened(path: Path) -> Iterator[Original]:
    """Open a regular file, following no link at its end; raises `OtherFileError` for any other
    thing, `FileNotFoundError` where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OtherFileError(path) from error
        raise
    try:
        original = Original(path, handle)
        if not stat.S_ISREG(original.status.st_mode):
            raise OtherFileError(path)
        yield original
    finally:
        os.close(handle)


def hash_at(path: Path) -> str | None:
    """Return the SHA-256 (hex) of the regular file at a path, None where there is none."""
    try:
        with opened(path) as original:
            return original.sha256()
    except (FileNotFoundError, NotADirectoryError, OtherFileError):
        return None


def is_same(path: Path, other: os.stat_result) -> bool:
    """Tell whether a path is one more name of a file."""
    try:
        return os.path.samestat(path.lstat(), other)
    except (FileNotFoundError, NotADirectoryError):
        return False


def put_link(original: Original, target: Path) -> None:
    """Give the file one more name; raises `OtherFileError` if the path has another file by now,
    `FileExistsError` if the target is taken."""
    os.link(original.path, target, follow_symlinks=False)
    if not is_same(target, original.status):
        target.unlink()
        raise OtherFileError(original.path)
    sync_folder(target)


def put_copy(original: Original, target: Path, sha256: str, part: Path) -> None:
    """Copy the file, by way of the name `part` in the target's folder.

    Raises `OtherFileError` where the bytes are not those of `sha256`, `FileExistsError` if the
    target is taken.
    """
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            if original.sha256(copy_to=handle) != sha256:
                raise OtherFileError(original.path)
            os.fchmod(handle, stat.S_IMODE(original.status.st_mode) & 0o777)
            os.utime(handle, ns=(original.status.st_atime_ns, original.status.st_mtime_ns))
            os.fsync(handle)
        finally:
            os.close(handle)
        _settle(part, target)
        sync_folder(target)
    finally:
        remove(part)


def put_moved(original: Original, target: Path, sha256: str, part: Path) -> None:
    """Put the file at the target and take it from its path; in between it is at both.

    Raises like `put_copy`; the file is where it was then.
    """
    try:
        put_link(original, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        put_copy(original, target, sha256, part)
    take_away(original, target)


def take_away(original: Original, target: Path) -> None:
    """Remove a file that is at the target too; where it cannot go, it stays, and only there.

    If somebody has removed or replaced it meanwhile, there is nothing left to do.
    """
    if is_same(original.path, original.status):
        try:
            if not original.is_in_place():
                raise OtherFileError(original.path)
            original.path.unlink()
        except (OSError, OtherFileError):
            target.unlink()
            raise
        sync_folder(original.path)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


def sync_folder(path: Path) -> None:
    """Make the names in the folder of a path lasting."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def _settle(part: Path, target: Path) -> None:
    """Give a finished file its name, unless that is taken."""
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links: take the name with an empty file of our own, then put the whole one there.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        part.replace(target)


def _write(handle: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(handle, view) :]


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
