"""Putting a backup in the database's place; what was there is kept."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daemon.durable import sync
from daemon.errors import DatabaseError, PassingDatabaseError
from daemon.progress import Told, untold
from daemon.store.database import translated
from daemon.store.migrate import backup_file, known_head

_SIDES = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the database that was replaced is kept, None where there was none, and the schema of
    the one that is there now."""

    kept: Path | None
    revision: str


def restore(backup: Path, database: Path, keep: Path, progress: Told = untold) -> Restored:
    """Put a sound backup in the place of the database, which nobody may have open for writing, and
    keep what was there at `keep`.

    Cut short at any point, it can be done again: until the last step the old database is there.
    """
    revision = _examine(backup)
    kept = _keep(database, keep) if database.exists() else None
    fresh = database.with_name(database.name + ".restored")
    backup_file(backup, fresh, progress)
    for side in _SIDES:  # of the old one: SQLite would play it into the new one
        database.with_name(database.name + side).unlink(missing_ok=True)
    fresh.replace(database)
    sync(database.parent)
    return Restored(kept, revision)


def _examine(backup: Path) -> str:
    """Return the schema of a backup; raises `DatabaseError` where it is none, or damaged."""
    if not backup.is_file():
        raise DatabaseError(f"{backup}: there is no such file; backups lie in the state folder")
    with (
        translated(),
        closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as file,
    ):
        found = [str(row[0]) for row in file.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise DatabaseError(f"{backup}: is damaged ({'; '.join(found)}); take another backup")
        try:
            (revision,) = file.execute("SELECT version_num FROM alembic_version").fetchone()
        except (sqlite3.OperationalError, TypeError) as error:
            raise DatabaseError(f"{backup}: is no database of classifyd") from error
    if str(revision) > known_head():
        raise DatabaseError(
            f"{backup}: has schema {revision}, newer than this program knows ({known_head()});"
            " install the newer classifyd"
        )
    return str(revision)


def _keep(database: Path, target: Path) -> Path:
    """Keep the database; one that SQLite cannot read is kept as it lies."""
    try:
        return backup_file(database, target)
    except PassingDatabaseError:
        raise
    except DatabaseError:
        target.with_name(target.name + ".part").unlink(missing_ok=True)
        damaged = target.with_name(target.name.replace(".db", "-damaged.db"))
        for side in ("", *_SIDES):
            file = database.with_name(database.name + side)
            if file.exists():
                shutil.copyfile(file, damaged.with_name(damaged.name + side))
        return damaged
