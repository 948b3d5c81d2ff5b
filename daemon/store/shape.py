"""Whether the views and indexes of a database are those that the migrations make."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from daemon.store.consistency import Problem
from daemon.store.database import open_engine, reading, writing
from daemon.store.migrate import run_migrations

Parts = Mapping[tuple[str, str], str]
"""Kind (`view` or `index`) and name to the statement that makes it."""

_PARTS = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('view', 'index')"


def promised() -> Parts:
    """Return the views and indexes of a new database; takes a moment, for it is made in memory."""
    engine = open_engine("sqlite://")
    try:
        with writing(engine) as connection:
            run_migrations(connection)
        with reading(engine) as connection:
            return _parts(connection)
    finally:
        engine.dispose()


def misshapen(connection: Connection, wanted: Parts) -> Iterator[Problem]:
    """Yield what is missing or altered; what somebody added is theirs."""
    found = _parts(connection)
    for part, statement in wanted.items():
        kind, name = part
        if part not in found:
            yield Problem(
                f"{kind} {name} is missing", 1, f"makes it again: {statement}", (statement,)
            )
        elif found[part] != statement:
            drop = f"DROP {kind.upper()} {name}"
            remedy = f"makes it anew: {drop}; {statement}"
            yield Problem(f"{kind} {name} was altered", 1, remedy, (drop, statement))


def _parts(connection: Connection) -> Parts:
    """Leave out the indexes that belong to a table's own constraints, which have no statement."""
    rows = connection.exec_driver_sql(_PARTS)
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in rows if sql is not None}
