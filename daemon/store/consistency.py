"""Whether a database is sound: SQLite's own checks, and what the program promises of its rows."""

from collections.abc import Iterator

from sqlalchemy import Connection

_MOST = 10

# Each names a promise and counts the rows that break it.
_PROMISES = {
    "paths without exactly one current row": (
        "SELECT count(*) FROM (SELECT 1 FROM file GROUP BY path_bytes HAVING sum(is_current) <> 1)"
    ),
    "done files without a prediction": (
        "SELECT count(*) FROM file WHERE state = 'done'"
        " AND (prediction_id IS NULL OR image_id IS NULL OR classified_at IS NULL)"
    ),
    "files whose label is not that of their prediction": (
        "SELECT count(*) FROM file JOIN prediction ON prediction.id = prediction_id"
        " WHERE file.label IS NOT prediction.label"
    ),
    "files whose prediction is of another image": (
        "SELECT count(*) FROM file JOIN prediction ON prediction.id = prediction_id"
        " WHERE file.image_id IS NOT prediction.image_id"
    ),
    "images predicted twice by one model version": (
        "SELECT count(*) FROM (SELECT 1 FROM prediction GROUP BY image_id, model_version_id"
        " HAVING count(*) > 1)"
    ),
}


def problems(connection: Connection) -> Iterator[str]:
    """Yield what is wrong in words, nothing when all is sound; reads the whole database."""
    yield from (f"integrity: {said}" for said in _integrity(connection))
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    for table, row, parent, _ in broken[:_MOST]:
        yield f"foreign key: row {row} of {table} points to a row of {parent} that is not there"
    if len(broken) > _MOST:
        yield f"foreign key: {len(broken) - _MOST} more"
    for promise, statement in _PROMISES.items():
        if count := connection.exec_driver_sql(statement).scalar_one():
            yield f"{promise}: {count}"


def _integrity(connection: Connection) -> list[str]:
    found = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST})").scalars().all()
    return [str(said) for said in found if said != "ok"]
