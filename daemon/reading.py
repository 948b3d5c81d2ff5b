"""Reading one claimed file: what is hashed is what is decoded, and it is read once."""

import errno
import hashlib
import os
import stat as modes
import threading

from daemon.below import folder_of, root_of
from daemon.contracts import DecodeLimits
from daemon.domain import FileRef, FileStat, Outcome, OutcomeKind

# O_NONBLOCK: opening a FIFO put in the file's place must not wait for a writer.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Seen:
    """The contents of one batch by hash, so that the same bytes are decoded only once."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._lock = threading.Lock()

    def first(self, sha256: str, file_id: int) -> int:
        """Return the file of the batch that had these bytes first (perhaps this one)."""
        with self._lock:
            return self._first.setdefault(sha256, file_id)


def read_file(
    ref: FileRef, limits: DecodeLimits, roots: tuple[bytes, ...] = ()
) -> tuple[bytes, FileStat] | Outcome:
    """Read a claimed file whole, or say why not; the version must be the claimed one.

    Of a path below one of `roots` no part may be a symbolic link; of any other, not the last.
    """
    try:
        handle = _open(ref.path, root_of(ref.path, roots))
    except OSError as error:
        return _failure(ref, error)
    try:
        return _read_open(ref, limits, handle)
    except OSError as error:
        return _failure(ref, error)
    finally:
        os.close(handle)


def _open(path: bytes, root: bytes | None) -> int:
    if root is None:
        return os.open(path, _FLAGS)
    with folder_of(path, root) as (folder, name):
        return os.open(name, _FLAGS, dir_fd=folder)


def _read_open(ref: FileRef, limits: DecodeLimits, handle: int) -> tuple[bytes, FileStat] | Outcome:
    status = os.fstat(handle)
    found = FileStat.of(status)
    if not modes.S_ISREG(status.st_mode):
        return Outcome(ref.file_id, OutcomeKind.NOT_IMAGE, found, reason="not a regular file")
    if found != ref.stat:
        return Outcome(ref.file_id, OutcomeKind.CHANGED, found)
    if found.size > limits.max_bytes:
        reason = f"{found.size:,} bytes; decode.max_bytes allows {limits.max_bytes:,}"
        return Outcome(ref.file_id, OutcomeKind.UNREADABLE, found, reason=reason)
    data = _read_all(handle, found.size)
    after = FileStat.of(os.fstat(handle))
    if after != found or len(data) != found.size:
        return Outcome(ref.file_id, OutcomeKind.CHANGED, after)
    return data, found


def _read_all(handle: int, size: int) -> bytes:
    parts = []
    left = size + 1  # one more, so that a file that grew is noticed
    while left > 0 and (part := os.read(handle, min(left, 1 << 24))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of `data`, hexadecimal: the identity of an image."""
    return hashlib.sha256(data).hexdigest()


def _failure(ref: FileRef, error: OSError) -> Outcome:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        reason = "vanished before it was read"
        return Outcome(ref.file_id, OutcomeKind.VANISHED, reason=reason)
    if error.errno == errno.ELOOP:
        return Outcome(ref.file_id, OutcomeKind.NOT_IMAGE, reason="symbolic link, not followed")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return Outcome(ref.file_id, OutcomeKind.NOT_IMAGE, reason="not a regular file")
    reason = f"cannot be read: {os.strerror(error.errno or 0).lower()}"
    return Outcome(ref.file_id, OutcomeKind.TRANSIENT, reason=reason)
