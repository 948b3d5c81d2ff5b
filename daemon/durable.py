"""What outlasts a kill and a power cut: a file's bytes once it was synced, a name once the folder
that holds it was.

Whoever writes a folder here holds a shared lock on its parent, so that whoever cleans up after
killed writers can tell their leftovers from what is being written now.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from daemon.lock import locked_folder

_PART_PREFIX, _PART_SUFFIX = ".unfinished-", ".part"
LEFTOVERS = f"{_PART_PREFIX}*{_PART_SUFFIX}"
"""What killed writers leave in a folder, as a pattern."""

_NO_SYNC = (errno.EACCES, errno.EINVAL, errno.ENOTSUP)
"""Folders of others may not be opened, and some network file systems sync none."""


def sync(path: Path) -> None:
    """Let a file's bytes, or a folder's names, outlast a power cut."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, whose names last."""
    made = [folder, *(above for above in folder.parents if not above.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync(each.parent)


def publish(folder: Path, fill: Callable[[Path], None], place: Callable[[Path], object]) -> None:
    """Have a folder filled inside `folder`, synced, and renamed by `place`; nothing is seen of it
    before it is whole."""
    with scratch(folder) as part:
        fill(part)
        for path in (*part.rglob("*"), part):
            sync(path)
        place(part)
        sync(folder)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a folder inside `folder` that goes at the end of the block, or as a leftover."""
    make_folder(folder)
    with locked_folder(folder, fcntl.LOCK_SH), _part(folder) as part:
        yield part


def clean_leftovers(folder: Path) -> list[Path]:
    """Remove what killed writers left in a folder; returns what was removed.

    Does nothing while somebody writes there.
    """
    if not folder.is_dir():
        return []
    with contextlib.suppress(BlockingIOError), locked_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        leftovers = sorted(folder.glob(LEFTOVERS))
        for leftover in leftovers:
            shutil.rmtree(leftover)
        return leftovers
    return []


@contextlib.contextmanager
def removal(target: Path) -> Iterator[Callable[[], None]]:
    """Give a function that takes a folder away, all of it at once; its files go at the end of the
    block."""
    part = _unfinished(target.parent)
    with locked_folder(target.parent, fcntl.LOCK_SH):
        yield partial(os.rename, target, part)
        shutil.rmtree(part, ignore_errors=True)


def _unfinished(folder: Path) -> Path:
    return folder / f"{_PART_PREFIX}{uuid.uuid4().hex}{_PART_SUFFIX}"


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    part = _unfinished(folder)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
