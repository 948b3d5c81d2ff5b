"""What the `sort` sink has done, in a small database of its own inside the sorted folder.

An entry is written before its file is put in place, and marked `filed` afterwards: whatever is
found half-done after a crash is known to be the sink's own.
"""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.domain import Event
from daemon.errors import DatabaseError, SinkError, way_out

NAME = ".classifyd-sort.db"
NEW, BEGUN, FILED, FOUND = "new", "begun", "filed", "found"
REPLACED, UNDONE = "replaced", "undone"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    event_id INTEGER NOT NULL, at TEXT NOT NULL, path BLOB NOT NULL, sha256 TEXT NOT NULL,
    target BLOB NOT NULL, mode TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (event_id, at)
);
CREATE INDEX IF NOT EXISTS entry_path ON entry (path);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file put away: where it was found, its content, and its name below the folder.

    `state` is new (not in the journal yet), begun, filed, found (the same content was there
    already), replaced (a later model version put it elsewhere) or undone.
    """

    event_id: int
    at: str
    path: Path
    sha256: str
    target: Path
    mode: str
    state: str


class Journal:
    """The entries of one sorted folder; of use in the thread that opened it."""

    def __init__(self, folder: Path) -> None:
        """Open it, made where it is missing; raises `SinkError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / NAME, timeout=30, isolation_level=None)
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except OSError as error:
            raise SinkError(f"{folder}: {error.strerror}; {way_out(error)}") from error
        except sqlite3.Error as error:
            raise SinkError(f"{folder / NAME}: {error}; mend or remove it") from error

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def of(self, event: Event) -> Entry | None:
        """Return what was done for an event."""
        found = self._entries("event_id = ? AND at = ?", event.event_id, event.at)
        return next(found, None)

    def of_content(self, path: Path, sha256: str) -> list[Entry]:
        """Return what was done with this content at this path, oldest first."""
        return list(self._entries("path = ? AND sha256 = ?", os.fsencode(path), sha256))

    def entries(self) -> list[Entry]:
        """Return what was neither undone nor replaced, newest first."""
        return list(self._entries("state NOT IN ('replaced', 'undone')"))[::-1]

    def write(self, entry: Entry) -> None:
        """Add an entry, or change what was written of the same event."""
        values = [getattr(entry, name) for name in Entry.__dataclass_fields__]
        values = [os.fsencode(each) if isinstance(each, Path) else each for each in values]
        statement = "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._database.execute(statement, values)

    def _entries(self, condition: str, *values: object) -> Iterator[Entry]:
        query = f"SELECT * FROM entry WHERE {condition} ORDER BY at, event_id"
        for event_id, at, path, sha256, target, *rest in self._database.execute(query, values):
            yield Entry(event_id, at, _path(path), sha256, _path(target), *rest)


def _path(stored: bytes) -> Path:
    return Path(os.fsdecode(stored))


def open_existing(folder: Path) -> Journal | None:
    """Open the journal of a folder for a command, None where there is none."""
    if not (folder / NAME).exists():
        return None
    if not os.access(folder / NAME, os.W_OK) or not os.access(folder, os.W_OK):
        raise DatabaseError(f"{folder / NAME}: cannot be written; run this as the daemon's user")
    return Journal(folder)
