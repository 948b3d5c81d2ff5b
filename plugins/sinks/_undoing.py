"""Taking back what the `sort` sink has done, so that no content is ever lost by it."""

import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from plugins.sinks._journal import FOUND, UNDONE, Entry, Journal
from plugins.sinks._placing import (
    EMPTY,
    OtherFileError,
    hash_at,
    opened,
    put_moved,
    remove,
    sync_folder,
)


class KeptError(Exception):
    """What was put away stays where it is, for the reason given."""


def part_name(target: Path, event_id: int) -> Path:
    """Return the hidden name beside a target under which its bytes gather."""
    return target.with_name(f".classifyd-{event_id}.part")


def can_undo(folder: Path, entry: Entry) -> bool:
    """Tell whether there is anything to take back for an entry. Raises `KeptError`."""
    target = folder / entry.target
    if entry.state == FOUND or not os.path.lexists(target):
        return False
    _check(entry, target)
    return True


def undo(journal: Journal, folder: Path, entry: Entry, state: str = UNDONE) -> bool:
    """Take back one entry and note its new state; tells whether there was anything to do.

    Raises `KeptError`; the entry is as it was then.
    """
    target = folder / entry.target
    if entry.mode == "move":
        _clear_way(entry)
    is_there = can_undo(folder, entry)
    if is_there:
        _take_back(entry, target)
    remove(part_name(target, entry.event_id))
    with suppress(OSError):
        target.parent.rmdir()
    journal.write(replace(entry, state=state))
    return is_there


def _check(entry: Entry, target: Path) -> None:
    """Raise `KeptError` where taking it back would lose what is nowhere else."""
    match entry.mode:
        case "symlink":
            if not target.is_symlink() or target.readlink() != entry.path:
                raise KeptError("it was replaced since")
        case "move":
            if not stat.S_ISREG(target.lstat().st_mode):
                raise KeptError("it was replaced since")
            if os.path.lexists(entry.path) and hash_at(entry.path) != hash_at(target):
                raise KeptError("another file is in its old place")
        case _:
            if hash_at(target) != entry.sha256:
                raise KeptError("it was changed since")
            if hash_at(entry.path) != entry.sha256:
                raise KeptError("its original is gone or was changed")


def _clear_way(entry: Entry) -> None:
    """Remove what an earlier undo left in the old place when a kill came: the bytes it was
    gathering, and the empty file with which it had taken the name (no other has such bytes
    beside it)."""
    part = part_name(entry.path, entry.event_id)
    if part.exists() and hash_at(entry.path) == EMPTY:
        entry.path.unlink()
    remove(part)


def _take_back(entry: Entry, target: Path) -> None:
    if entry.mode != "move" or os.path.lexists(entry.path):
        target.unlink()
        sync_folder(target)
        return
    try:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        with opened(target) as moved:
            put_moved(moved, entry.path, moved.sha256(), part_name(entry.path, entry.event_id))
    except FileExistsError as error:
        raise KeptError("another file is in its old place") from error
    except OtherFileError as error:
        raise KeptError("it is being changed") from error
    except OSError as error:
        raise KeptError(f"it cannot be moved back ({error.strerror})") from error
