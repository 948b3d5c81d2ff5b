"""Opening the database: engine, pragmas, and the one kind of write transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import DatabaseError as DriverError

from daemon.errors import ConfigError, DatabaseError

BUSY_TIMEOUT_S = 30.0


def database_url(database: str) -> str:
    """Return the SQLAlchemy URL of `database`: a URL stays, anything else is a SQLite path."""
    return database if "://" in database else f"sqlite:///{database}"


def sqlite_path(database: str) -> Path | None:
    """Return the file behind `database`, or None where it is not SQLite on disk."""
    url = make_url(database_url(database))
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def open_engine(database: str) -> Engine:
    """Open the database; raises `ConfigError` for a bad URL, `DatabaseError` for a bad place."""
    try:
        url = make_url(database_url(database))
    except ArgumentError as error:
        raise ConfigError(f"database: {database!r} is neither a path nor a database URL") from error
    if url.get_backend_name() != "sqlite":
        raise ConfigError(
            f"database: {url.get_backend_name()!r} is not supported; give the path of a SQLite file"
        )
    path = sqlite_path(database)
    if path is not None and not path.parent.is_dir():
        raise DatabaseError(f"{path}: its folder does not exist; run `classifyd db upgrade` first")
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Begin for ourselves: sqlite3 begins late and deferred, so that a write could fail with
    "locked" after reading, without waiting for the busy timeout."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}",
        "cache_size=-16000",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One short write transaction: the write lock is taken at once, so none fails half-way.

    Raises `DatabaseError` when the database stays locked or cannot be written.
    """
    with (
        translated(),
        engine.connect().execution_options(writes=True) as connection,
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
        raise DatabaseError(_advice(str(said))) from error


def _advice(said: str) -> str:
    if "no such table" in said or "no such column" in said:
        return f"the database is not ready ({said}); run `classifyd db upgrade`"
    if "locked" in said:
        return "the database is locked by another program; close it and try again"
    if "readonly" in said:
        return "the database cannot be written; check the rights of its file and folder"
    if "full" in said:
        return "the disk that holds the database is full; make room and try again"
    if "malformed" in said or "not a database" in said:
        return f"the database file is damaged ({said}); restore a backup from the state folder"
    return f"the database answered: {said}"
