"""One daemon a database: a lock on a file beside it, which the kernel frees when we die."""

import fcntl
import os
from pathlib import Path

from daemon.errors import BusyError, DatabaseError


class DatabaseLock:
    """Held by the process that claims files; use as a context manager."""

    def __init__(self, database: Path) -> None:
        database = database.resolve()  # one lock, by whatever link the database is named
        self._path = database.with_name(database.name + ".lock")
        self._handle: int | None = None

    def __enter__(self) -> "DatabaseLock":
        """Take the lock; raises `BusyError` naming the holder when another has it."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DatabaseError(
                f"{self._path}: the lock beside the database cannot be made ({error.strerror}); "
                "mend the rights of its folder, or name another place with `database:`"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise BusyError(
                f"another classifyd (process {holder}) works on {self._path.with_suffix('')}; "
                "stop it first, or give this one a database of its own"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock; the file stays, since removing it would let two hold it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
