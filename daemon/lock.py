"""Locks on files, which the kernel frees when their holder dies: one daemon a database, one
training run a state folder."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import BusyError, DatabaseError, way_out

_LOOKS, _LOOK_S = 5, 0.02


class FileLock:
    """Held by one process at a time; use as a context manager."""

    def __init__(self, path: Path, busy: str) -> None:
        """`busy` is the message for whoever comes second, with `{holder}` for the process."""
        self._path = path
        self._busy = busy
        self._handle: int | None = None

    def __enter__(self) -> "FileLock":
        """Take the lock; raises `BusyError` naming the holder when another has it."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DatabaseError(
                f"{self._path}: the lock cannot be made ({error.strerror}); "
                f"{way_out(error)}, or name another place with `database:` and"
                " `state_dir:`"
            ) from error
        try:
            _take(handle)
        except BlockingIOError as error:
            holder = _written(handle) or "unknown"
            os.close(handle)
            raise BusyError(self._busy.format(holder=holder)) from error
        with contextlib.suppress(OSError):  # on a full disk it is not told who holds it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock; the file stays, since removing it would let two hold it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def holder(self) -> int | None:
        """Return which process holds it, None if none does."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(_written(handle) or 0)
        finally:
            os.close(handle)
        return None


def _take(handle: int) -> None:
    """Take a lock, in spite of whoever only looks at this moment whether it is held."""
    for _ in range(_LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOOK_S)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _written(handle: int) -> str:
    return os.pread(handle, 32, 0).decode("ascii", "replace").strip()


@contextlib.contextmanager
def locked_folder(folder: Path, how: int) -> Iterator[None]:
    """Hold a lock on a folder itself; raises `BlockingIOError` where `how` says not to wait."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def database_lock(database: Path) -> FileLock:
    """Return the lock of the process that claims files; one, by whatever link it is named."""
    database = database.resolve()
    return FileLock(
        database.with_name(database.name + ".lock"),
        f"another classifyd (process {{holder}}) works on {database}; stop it first, or give this"
        " one a database of its own",
    )


def training_lock(state_dir: Path) -> FileLock:
    """Return the lock of the process that trains."""
    return FileLock(
        state_dir.resolve() / "training.lock",
        "a training run is going on (process {holder}); `classifyd runs` shows how far it is",
    )


def nobody_trains_at(state_dir: Path, now: str) -> str | None:
    """Return `now` if nobody trains, else None."""
    return now if training_lock(state_dir).holder() is None else None
