"""Whether a database is sound: SQLite's own checks, what the program promises of its rows, and
how what breaks a promise is mended.

Every mend is plain SQL, and may be repeated: what it has mended it no longer finds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

_MOST = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, how often, and what repairing does (empty: it cannot be repaired here)."""

    says: str
    count: int = 1
    repair: str = ""
    statements: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it as one line."""
        return self.says if self.count == 1 else f"{self.says}: {self.count}"


@dataclass(frozen=True, slots=True)
class _Promise:
    """`broken` counts the rows that break it; `repair` tells what `statements` do."""

    says: str
    broken: str
    repair: str
    statements: tuple[str, ...]


_POINTERS = "prediction_id = NULL, label = NULL, classified_at = NULL"
_NEWEST = "SELECT max(id) FROM prediction WHERE prediction.image_id = file.image_id"
_LABEL = "SELECT label FROM prediction WHERE prediction.id = file.prediction_id"

# A pointer to a row that is not there: the table, its column, and the table it points into. A row
# that means nothing without the other goes; any other forgets it.
_DANGLING = (
    ("file", "image_id", "image", f"image_id = NULL, {_POINTERS}"),
    ("file", "prediction_id", "prediction", _POINTERS),
    ("model_version", "training_run_id", "training_run", "training_run_id = NULL"),
    ("prediction", "image_id", "image", None),
    ("prediction", "model_version_id", "model_version", None),
    ("label", "image_id", "image", None),
    ("deployment", "model_version_id", "model_version", None),
    ("delivery", "event_id", "event", None),
)


def _dangling(table: str, column: str, parent: str, forget: str | None) -> _Promise:
    lost = f"{column} IS NOT NULL AND {column} NOT IN (SELECT id FROM {parent})"
    if forget is None:
        repair, statement = "removes them", f"DELETE FROM {table} WHERE {lost}"
    else:
        repair, statement = "forgets that", f"UPDATE {table} SET {forget} WHERE {lost}"
    return _Promise(
        f"rows of {table} that point to a row of {parent} that is not there",
        f"SELECT count(*) FROM {table} WHERE {lost}",
        repair,
        (statement,),
    )


_WRONG_IMAGE = (
    "prediction_id IN (SELECT prediction.id FROM prediction"
    " WHERE prediction.id = file.prediction_id AND prediction.image_id IS NOT file.image_id)"
)
_NO_PREDICTION = (
    "state = 'done' AND (prediction_id IS NULL OR image_id IS NULL OR classified_at IS NULL)"
)
_NO_CURRENT = "path_bytes IN (SELECT path_bytes FROM file GROUP BY 1 HAVING sum(is_current) <> 1)"
_DOUBLE = "id NOT IN (SELECT max(id) FROM prediction GROUP BY image_id, model_version_id)"
# In order: what is forgotten by one is found again, or queued, by the next.
_PROMISES = (
    *(_dangling(*pointer) for pointer in _DANGLING),
    _Promise(
        "paths without exactly one current row",
        f"SELECT count(DISTINCT path_bytes) FROM file WHERE {_NO_CURRENT}",
        "makes the newest row of each the current one",
        (
            f"UPDATE file SET is_current = 0 WHERE {_NO_CURRENT}",
            "UPDATE file SET is_current = 1 WHERE id IN (SELECT max(id) FROM file"
            " GROUP BY path_bytes HAVING sum(is_current) = 0)",
        ),
    ),
    _Promise(
        "images predicted twice by one model version",
        "SELECT count(*) FROM (SELECT 1 FROM prediction GROUP BY image_id, model_version_id"
        " HAVING count(*) > 1)",
        "keeps the newest prediction of each",
        (
            f"UPDATE file SET {_POINTERS} WHERE prediction_id IN"
            f" (SELECT id FROM prediction WHERE {_DOUBLE})",
            f"DELETE FROM prediction WHERE {_DOUBLE}",
        ),
    ),
    _Promise(
        "files whose prediction is of another image",
        f"SELECT count(*) FROM file WHERE {_WRONG_IMAGE}",
        "shows the newest prediction of the file's own image",
        (f"UPDATE file SET {_POINTERS} WHERE {_WRONG_IMAGE}",),
    ),
    _Promise(
        "done files without a prediction",
        f"SELECT count(*) FROM file WHERE {_NO_PREDICTION}",
        "shows the newest prediction of their image; files without one are classified again",
        (
            f"UPDATE file SET prediction_id = ({_NEWEST}),"
            f" classified_at = coalesce(classified_at, state_at)"
            f" WHERE {_NO_PREDICTION} AND EXISTS ({_NEWEST} HAVING count(*) > 0)",
            f"UPDATE file SET label = ({_LABEL}) WHERE prediction_id IS NOT NULL AND label IS NULL",
            f"UPDATE file SET state = iif(is_current AND removed_at IS NULL, 'queued', 'gone'),"
            f" reason = 'its prediction was lost', attempts = 0, {_POINTERS}"
            f" WHERE {_NO_PREDICTION}",
        ),
    ),
    _Promise(
        "files whose label is not that of their prediction",
        "SELECT count(*) FROM file JOIN prediction ON prediction.id = prediction_id"
        " WHERE file.label IS NOT prediction.label",
        "takes the label from the prediction",
        (
            f"UPDATE file SET label = ({_LABEL}) WHERE prediction_id IS NOT NULL"
            f" AND label IS NOT ({_LABEL})",
        ),
    ),
    _Promise(
        "files to be tried again at no time",
        "SELECT count(*) FROM file WHERE state = 'retry' AND next_try_at IS NULL",
        "queues them",
        ("UPDATE file SET state = 'queued' WHERE state = 'retry' AND next_try_at IS NULL",),
    ),
)
_CLAIMED = _Promise(
    "files claimed by a daemon that has ended",
    "SELECT count(*) FROM file WHERE state = 'claimed'",
    "queues them again, as the next start does",
    (
        "UPDATE file SET state = 'queued', claimed_by = NULL, lease_until = NULL"
        " WHERE state = 'claimed'",
    ),
)


def problems(connection: Connection, is_idle: bool = False) -> Iterator[Problem]:
    """Yield what is wrong, nothing when all is sound; reads the whole database.

    `is_idle`: no daemon runs on it, so that nothing can be claimed.
    """
    yield from _integrity(connection)
    for promise in (*_PROMISES, *([_CLAIMED] if is_idle else [])):
        if count := connection.exec_driver_sql(promise.broken).scalar_one():
            yield Problem(promise.says, count, promise.repair, promise.statements)


def repair(connection: Connection, found: Iterable[Problem]) -> None:
    """Run the statements of problems, in a write transaction; references are checked at its end.

    Mending one thing may bring up the next in order, so look again afterwards.
    """
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    for problem in found:
        for statement in problem.statements:
            connection.exec_driver_sql(statement)


def _integrity(connection: Connection) -> Iterator[Problem]:
    for row in connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST})").scalars().all():
        said = str(row)
        if said == "ok":
            continue
        if "index" in said:
            yield Problem(f"integrity: {said}", 1, "builds all indexes anew", ("REINDEX",))
        else:
            yield Problem(f"integrity: {said}")
