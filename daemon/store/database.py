"""Opening the database: engine, pragmas, and the one kind of write transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import DatabaseError as DriverError

from daemon.durable import sync
from daemon.errors import (
    BusyDatabaseError,
    ConfigError,
    DatabaseError,
    DatabaseReplacedError,
    PassingDatabaseError,
)

BUSY_TIMEOUT_S = 10.0
_PRAGMAS = (
    "journal_mode=WAL",  # the first four concern writing
    "synchronous=FULL",
    "wal_autocheckpoint=1000",  # pages: the log is folded in every 4 MB
    "journal_size_limit=8000000",  # and cut to so many bytes where it had to grow
    "foreign_keys=ON",
    f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}",
    "cache_size=-4000",  # kilobytes for each connection, and every thread has one
    "temp_store=MEMORY",
)
_DURABLE = "durable"
_BUSY = {
    "locked": "the database is locked by another program; close it and try again",
    "full": "the disk that holds the database is full; make room and try again",
}
_PASSING = {
    "readonly": "the database cannot be written; check the rights of its file and folder",
    "disk I/O error": "the disk that holds the database cannot be read or written; check it",
    "unable to open": "the database cannot be opened; check its folder and its rights",
}


def database_url(database: str) -> str:
    """Return the SQLAlchemy URL of `database`: a URL stays, anything else is a SQLite path."""
    return database if "://" in database else f"sqlite:///{database}"


def sqlite_path(database: str) -> Path | None:
    """Return the file behind `database`, or None where it is not SQLite on disk."""
    url = make_url(database_url(database))
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def require_supported(database: str) -> URL:
    """Return the URL of a database that this program can use; raises `ConfigError`."""
    try:
        url = make_url(database_url(database))
    except ArgumentError as error:
        raise ConfigError(f"database: {database!r} is neither a path nor a database URL") from error
    if url.get_backend_name() != "sqlite":
        raise ConfigError(
            f"database: {url.get_backend_name()!r} is not supported; give the path of a SQLite file"
        )
    return url


def open_engine(database: str) -> Engine:
    """Open the database; raises `ConfigError` for a bad URL, `DatabaseError` for a bad place."""
    url = require_supported(database)
    path = sqlite_path(database)
    if path is not None:
        _check_place(path)
    engine = _prepared(create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}), _PRAGMAS)
    if path is not None:
        event.listen(engine, "begin", _SameFile(path))
    return engine


def open_lasting(database: str) -> Engine:
    """Open the database as `open_engine` does, and let the names of its files outlast a power cut.

    SQLite has the connection that makes the write-ahead log sync the folder, when it first
    commits itself: until then what other connections commit would be lost with the log's name.
    """
    engine = open_engine(database)
    if (path := sqlite_path(database)) is not None:
        with engine.connect() as connection:  # goes back to the pool, open, and so the log stays
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        sync(path.parent)
    return engine


def open_unwritable(path: Path) -> Engine:
    """Open a database file for queries where this user may not write it or beside it.

    While a program has it open, its `-wal` file is read too. With none there, nobody can be
    writing, and the file is read as it lies: SQLite could not make the files it shares.
    """
    _check_place(path)
    still = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{still}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)

    engine = create_engine(database_url(str(path)), creator=connect)
    return _prepared(engine, _PRAGMAS[4:])


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise DatabaseError(f"{path}: is a folder; name a file in it with `database:`")
    if not path.parent.is_dir():
        raise DatabaseError(f"{path}: its folder does not exist; run `classifyd db upgrade` first")


def _prepared(engine: Engine, pragmas: Sequence[str]) -> Engine:
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", _begin)
    return engine


class _SameFile:
    """Lets no transaction begin once another file lies where the first one found the database.

    What is written to a file that was moved away or deleted would be lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def __call__(self, _connection: Connection) -> None:
        """Look before a transaction; raises `DatabaseReplacedError`."""
        try:
            stat = self._path.stat()
        except FileNotFoundError as error:
            raise self._error("moved away or deleted") from error
        except OSError:
            return  # its folder is out of reach for now, the open file is not
        identity = stat.st_dev, stat.st_ino
        self._identity = self._identity or identity
        if self._identity != identity:
            raise self._error("replaced by another file")

    def _error(self, how: str) -> DatabaseReplacedError:
        return DatabaseReplacedError(
            f"{self._path}: the database was {how} while it was open; put the right one there"
            " while classifyd is stopped, and start it again"
        )


def _begin(connection: Connection) -> None:
    """Begin for ourselves: sqlite3 begins late and deferred, so that a write could fail with
    "locked" after reading, without waiting for the busy timeout."""
    options = connection.get_execution_options()
    if options.get("writes", False):
        _sync(connection, options.get("durable", True))
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _sync(connection: Connection, durable: bool) -> None:
    """Have the commit wait for the disk, or not; set again only where it changes."""
    if connection.info.get(_DURABLE, True) is not durable:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.info[_DURABLE] = durable


@contextmanager
def writing(engine: Engine, durable: bool = True) -> Iterator[Connection]:
    """One short write transaction: the write lock is taken at once, so none fails half-way.

    One that is not `durable` does not wait for the disk, and is on it with the next that is: a
    power failure before may undo it, a crash of this program never does. Raises `DatabaseError`
    when the database stays locked or cannot be written.
    """
    with (
        translated(),
        engine.connect().execution_options(writes=True, durable=durable) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent look at the database."""
    with translated(), engine.connect() as connection:
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver says into a `DatabaseError` with a remedy."""
    try:
        yield
    except (DriverError, sqlite3.DatabaseError) as error:
        said = getattr(error, "orig", error)
        if type(said) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise  # the subclasses tell of mistakes of ours
        raise _refusal(str(said)) from error


def _refusal(said: str) -> DatabaseError:
    if "no such table" in said or "no such column" in said:
        return DatabaseError(f"the database is not ready ({said}); run `classifyd db upgrade`")
    for error, advices in ((BusyDatabaseError, _BUSY), (PassingDatabaseError, _PASSING)):
        for part, advice in advices.items():
            if part in said:
                return error(advice)
    if "malformed" in said or "not a database" in said:
        return DatabaseError(
            f"the database file is damaged ({said}); restore a backup from the state folder"
        )
    return DatabaseError(f"the database answered: {said}")
