"""Bringing a database to the schema of this program; Alembic is imported only when needed."""

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect

import migrations
from daemon.durable import make_folder, sync
from daemon.errors import DatabaseError, way_out
from daemon.progress import Told, untold
from daemon.room import require_room
from daemon.store.database import open_engine, reading, sqlite_path, translated, writing

if TYPE_CHECKING:
    from alembic.config import Config

_PAGES = 4096
STAGES = {"backup": "backing up the database (MB)", "upgrade": "bringing the database up to date"}
_FOLDER = Path(migrations.__file__).parent


def known_head() -> str:
    """Return the newest revision this program knows, without importing Alembic."""
    return _revisions()[-1]


def _revisions() -> list[str]:
    files = (_FOLDER / "versions").glob("[0-9]*_*.py")
    return sorted(file.name.split("_")[0] for file in files)


def current_revision(engine: Engine) -> str | None:
    """Return the revision of the database, None for an empty one."""
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return str(found) if found is not None else None


def require_current(engine: Engine, database: str) -> None:
    """Raise `DatabaseError` unless the database has exactly the schema of this program."""
    revision = current_revision(engine)
    if revision == known_head():
        return
    _refuse_newer(revision, database)
    raise DatabaseError(
        f"{database}: the database has schema {revision or 'none'}, this program needs "
        f"{known_head()}; run `classifyd db upgrade`"
    )


def _refuse_newer(revision: str | None, database: str) -> None:
    if revision is not None and revision > known_head():
        raise DatabaseError(
            f"{database}: the database has schema {revision}, newer than this program knows "
            f"({known_head()}); install the newer classifyd, or restore a backup"
        )


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: revisions before and after (equal when nothing), and the backup."""

    before: str | None
    after: str
    backup: Path | None


def upgrade(
    database: str, backups: Path, progress: Told = untold, min_free: int | None = None
) -> Upgrade:
    """Create the database or bring it up to date; an existing file is backed up first.

    `progress` is told of the stages `backup` (in megabytes) and `upgrade` (in revisions). Raises
    `DatabaseError` when the database is newer than this program, `NoRoomError` when the backup
    would leave less than `min_free` bytes on its disk.
    """
    path = sqlite_path(database)
    if path is not None:
        _make_folder(path.parent)
    engine = open_engine(database)
    try:
        before = current_revision(engine)
        _refuse_newer(before, database)
        if before == known_head():
            return Upgrade(before, before, None)
        backup = None
        if before is not None and path is not None:
            target = backups / f"{path.stem}-schema-{before}-{_stamp()}.db"
            backup = backup_file(path, target, progress, min_free)
        with writing(engine) as connection:
            run_migrations(connection, before, progress)
        return Upgrade(before, known_head(), backup)
    finally:
        engine.dispose()


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise DatabaseError(
            f"{folder}: the database's folder cannot be made ({error.strerror}); "
            f"{way_out(error)}, or name another place with `database:`"
        ) from error


def backup_name(database: Path) -> str:
    """Return the name of a backup that is made now: `classifyd-20260501T120000Z.db`."""
    return f"{database.stem}-{_stamp()}.db"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _alembic_config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config(stdout=sys.stderr)  # its own remarks are no answer of a command
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def run_migrations(
    connection: Connection, before: str | None = None, progress: Told = untold
) -> None:
    """Run what a database lacks that stands at `before`, all on an empty one, in the one
    transaction of `connection`."""
    from alembic import command

    if before is None:  # nothing is there that could take time
        command.upgrade(_alembic_config(connection), "head")
        return
    steps = [revision for revision in _revisions() if revision > before]
    for done, revision in enumerate(steps, 1):
        progress("upgrade", done - 1, len(steps))
        command.upgrade(_alembic_config(connection), revision)
        progress("upgrade", done, len(steps))


def check(engine: Engine) -> None:
    """Raise Alembic's `AutogenerateDiffsDetected` when tables and models differ."""
    from alembic import command

    with reading(engine) as connection:
        command.check(_alembic_config(connection))


def backup_file(
    source: Path, target: Path, progress: Told = untold, min_free: int | None = None
) -> Path:
    """Copy a live database with SQLite's own backup interface; the copy appears whole or not.

    `progress` is told of the stage `backup`, in megabytes. Raises `NoRoomError` when it would
    leave less than `min_free` bytes on its disk.
    """
    if not source.is_file():
        raise DatabaseError(f"{source}: there is no database to back up")
    require_room({"the backup": target.parent}, min_free, "it", source.stat().st_size)
    _make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with (
        translated(),
        closing(sqlite3.connect(source)) as live,
        closing(sqlite3.connect(part)) as copy,
    ):
        (page,) = live.execute("PRAGMA page_size").fetchone()

        def tell(_status: int, left: int, total: int) -> None:
            progress("backup", _megabytes((total - left) * page), _megabytes(total * page))

        live.backup(copy, pages=_PAGES, progress=tell)
    sync(part)
    part.replace(target)
    sync(target.parent)
    return target


def _megabytes(count: int) -> int:
    """Round up, so that all of it is all of it."""
    return -(-count // 1_000_000)
