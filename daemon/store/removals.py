"""Labels whose files were removed: how many they are, and whether that is too many at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from daemon.clock import utc_text

AT_ONCE = timedelta(minutes=10)
"""Removals within so long count together."""

SHARE = 10
"""No more than one in so many labels is retracted at once without confirmation."""

# Files that have said something and are gone, of one source or of all.
_GONE = """
    SELECT path_bytes, image_id, said, source FROM file
    WHERE said IS NOT NULL AND {of} AND is_current = 1 AND removed_at <= :before
    UNION ALL
    SELECT file.path_bytes, file.image_id, file.said, file.source
    FROM file JOIN file AS newest
      ON newest.path_bytes = file.path_bytes AND newest.is_current = 1
    WHERE file.said IS NOT NULL AND file.{of} AND file.is_current = 0
      AND coalesce(newest.removed_at, iif(newest.state = 'gone', newest.state_at, NULL))
          <= :before
"""
_OF_ONE, _OF_ALL = "source = :source", "source IS NOT NULL"

# Labels that nothing but gone files speaks for. The indexes are named because SQLite, which knows
# nothing of how values are spread, would take one that most rows share.
_LOST = """
    SELECT count(DISTINCT label.id)
    FROM ({gone}) AS gone
    JOIN label INDEXED BY ix_label_image_id
      ON label.image_id = gone.image_id AND label.label = gone.said
      AND label.source = gone.source AND label.retracted_at IS NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM file AS other INDEXED BY ix_file_image_id
        WHERE other.image_id = gone.image_id AND other.source = gone.source
          AND other.said = gone.said AND other.is_current = 1 AND other.removed_at IS NULL)
"""

# Images that lost their last label lately.
_LOST_LATELY = """
    SELECT count(DISTINCT image_id) FROM label
    WHERE retracted_at > :since AND image_id NOT IN (
        SELECT image_id FROM label WHERE retracted_at IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Balance:
    """How many labels are about to be lost, were lost lately, and may be lost at once."""

    lost: int
    lately: int
    most: int

    @property
    def is_too_much(self) -> bool:
        """Whether somebody must confirm it first."""
        return self.lost > 0 and self.lost + self.lately > self.most


def paths(connection: Connection, source: str, before: str) -> list[bytes]:
    """Return the paths of a source that have said something and were removed before then."""
    statement = f"SELECT DISTINCT path_bytes FROM ({_GONE.format(of=_OF_ONE)})"
    return list(
        connection.exec_driver_sql(statement, {"source": source, "before": before}).scalars()
    )


def balance(connection: Connection, source: str | None, now: str) -> Balance:
    """Weigh the labels that removed files of a source (None: of all) would take along."""
    gone = _GONE.format(of=_OF_ALL if source is None else _OF_ONE)
    lost = _count(connection, _LOST.format(gone=gone), source=source, before=now)
    if not lost:
        return Balance(0, 0, 0)
    since = utc_text((datetime.fromisoformat(now) - AT_ONCE).timestamp())
    lately = _count(connection, _LOST_LATELY, since=since)
    total = _count(connection, "SELECT count(*) FROM label WHERE retracted_at IS NULL") + lately
    return Balance(lost, lately, max(1, total // SHARE))


def _count(connection: Connection, statement: str, **values: Any) -> int:
    return int(connection.exec_driver_sql(statement, values).scalar_one())
