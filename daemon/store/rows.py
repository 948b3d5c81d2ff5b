"""Rows of files as values: what is read for a decision, and what a sighting writes."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, text

from daemon.domain import FileStat, FileState, Sighting
from daemon.settle import settles_at_once
from daemon.store.schema import File
from daemon.text import display_path
from daemon.transitions import Known, first_state

STAT_COLUMNS = (File.size, File.mtime_ns, File.inode)
_STATES = {str(state): state for state in FileState}
_MOST_KNOWN = 4096

# Past SQLAlchemy, which would look at every one of the paths.
_KNOWN_ROWS = (
    "SELECT path_bytes, id, state, reason, removed_at IS NOT NULL, source, size, mtime_ns, inode"
    " FROM file WHERE path_bytes IN ({}) AND is_current = 1"
)
# Of a million known files nearly all are as they were: no more is asked of those.
_AT_REST = (
    "SELECT path_bytes, size, mtime_ns, inode, id FROM file WHERE path_bytes IN ({})"
    " AND is_current = 1 AND state = 'done' AND removed_at IS NULL AND +source = ?"
)

# One query for all sizes, each answered from the index up to its own limit; CROSS keeps the order.
_KNOWN_CONTENTS = text(
    f"""
    SELECT image.size, image.sha256 FROM json_each(:sizes) AS wanted
    CROSS JOIN image ON image.id IN (
        SELECT id FROM image WHERE size = wanted.value ORDER BY id DESC LIMIT {_MOST_KNOWN}
    )
    CROSS JOIN prediction ON image_id = image.id AND model_version_id = :version
    """
)


def known_rows(connection: Connection, paths: Collection[bytes]) -> dict[bytes, Known]:
    """Return the newest rows of these paths, by path."""
    if not paths:
        return {}
    places = ", ".join("?" * len(paths))
    rows = connection.exec_driver_sql(_KNOWN_ROWS.format(places), tuple(paths)).all()
    return {
        path: Known(file_id, FileStat(*stat), _STATES[state], reason, bool(gone), source)
        for path, file_id, state, reason, gone, source, *stat in rows
    }


def at_rest(
    connection: Connection, source: str, sightings: Mapping[bytes, Sighting]
) -> dict[bytes, int]:
    """Return, by path, the rows of the source to which their sightings tell nothing new: files
    that are classified, there and unchanged."""
    places = ", ".join("?" * len(sightings))
    rows = connection.exec_driver_sql(_AT_REST.format(places), (*sightings, source)).all()
    return {row[0]: row[4] for row in rows if sightings[row[0]].stat == row[1:4]}


def known_contents(
    connection: Connection, sizes: Iterable[int], model_version_id: int
) -> dict[int, frozenset[str]]:
    """Return, by size, the hashes of contents that a model version has classified.

    Where thousands are of one size (uncompressed formats), only the newest are told: an older
    duplicate then costs one more run of the model, not each batch the reading of all.
    """
    values = {"sizes": json.dumps(list(sizes)), "version": model_version_id}
    known: dict[int, set[str]] = {}
    for size, sha256 in connection.execute(_KNOWN_CONTENTS, values):
        known.setdefault(size, set()).add(sha256)
    return {size: frozenset(hashes) for size, hashes in known.items()}


def row_values(sighting: Sighting, now: str) -> dict[str, Any]:
    """Return what a sighting makes of a row that was not read yet."""
    state, reason = first_state(sighting, settles_at_once(sighting))
    return {
        "size": sighting.stat.size,
        "mtime_ns": sighting.stat.mtime_ns,
        "inode": sighting.stat.inode,
        "state": state,
        "reason": reason,
        "attempts": 0,
        "next_try_at": None,
        "claimed_by": None,
        "lease_until": None,
        "removed_at": None,
        "image_id": None,
        "state_at": now,
    }


def new_row(source: str, sighting: Sighting, now: str) -> dict[str, Any]:
    """Return the row of a file version first seen."""
    return {
        **row_values(sighting, now),
        "source": source,
        "path": display_path(sighting.path),
        "path_bytes": sighting.path,
        "is_current": True,
        "found_at": now,
    }
