"""Rows of files as values: what is read for a decision, and what a sighting writes."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select, text

from daemon.domain import FileStat, FileState, Sighting
from daemon.settle import settles_at_once
from daemon.store.schema import File, Image, Prediction
from daemon.text import display_path
from daemon.transitions import Known, first_state

STAT_COLUMNS = (File.size, File.mtime_ns, File.inode)
_MOST_KNOWN = 4096


def known_rows(connection: Connection, paths: Iterable[bytes]) -> dict[bytes, Known]:
    """Return the newest rows of these paths, by path."""
    query = select(
        File.path_bytes,
        File.id,
        *STAT_COLUMNS,
        File.state,
        File.reason,
        File.removed_at,
        File.source,
    ).where(File.path_bytes.in_(list(paths)), File.is_current == text("1"))
    return {
        row.path_bytes: Known(
            row.id,
            FileStat(row.size, row.mtime_ns, row.inode),
            FileState(row.state),
            row.reason,
            row.removed_at is not None,
            row.source,
        )
        for row in connection.execute(query)
    }


def contents_of(connection: Connection, size: int, model_version_id: int) -> frozenset[str]:
    """Return the hashes of contents of this size that a model version has classified.

    Where thousands are of one size (uncompressed formats), only the newest are told: an older
    duplicate then costs one more run of the model, not each batch the reading of all.
    """
    query = (
        select(Image.sha256)
        .join(Prediction, Prediction.image_id == Image.id)
        .where(Image.size == size, Prediction.model_version_id == model_version_id)
        .order_by(Image.id.desc())
        .limit(_MOST_KNOWN)
    )
    return frozenset(connection.execute(query).scalars())


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
