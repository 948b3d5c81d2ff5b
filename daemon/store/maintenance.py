"""Keeping the write-ahead log short: SQLite folds it into the database, we cut what is left.

Two customary chores are left out. With the figures of `ANALYZE` SQLite takes another index for
images by capture time, ten times slower than the one it takes without. And room that was freed is
used again by what comes next, so that vacuuming would only make the file shrink and grow.
"""

from pathlib import Path

from sqlalchemy import Engine

from daemon.store.database import BUSY_TIMEOUT_S, translated

_CUT_WAIT_MS = 100
"""Cutting the log keeps writers waiting; so long at most for those who read."""


def log_size(database: Path) -> int:
    """Return the bytes of the write-ahead log beside a database."""
    try:
        return database.with_name(database.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def cut_log(engine: Engine) -> None:
    """Fold the whole log in and cut it to nothing, unless somebody reads an older state."""
    with translated():
        connection = engine.raw_connection()  # it must be in no transaction
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout={_CUT_WAIT_MS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
            cursor.close()
            connection.close()
