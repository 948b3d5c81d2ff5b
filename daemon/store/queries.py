"""Questions that commands ask of the database, as plain SQL: quick to import, quick to answer.

No query here reads more of `file` than an index gives, however many million rows it has.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

Row = dict[str, Any]

WAITING = ("settling", "queued", "claimed", "retry")
_COUNTED_EXACTLY = 200_000
# To the letter as in the partial indexes, or SQLite does not use them.
_WAITS = "state IN ('settling', 'queued', 'claimed', 'retry')"
_GIVEN_UP = "state IN ('retry', 'quarantined') AND state = 'quarantined'"


def _rows(connection: Connection, statement: str, **values: Any) -> Iterator[Row]:
    found = connection.exec_driver_sql(statement, values).yield_per(1_000)
    for row in found.mappings():
        yield dict(row)


def _first(connection: Connection, statement: str, **values: Any) -> Row | None:
    return next(_rows(connection, statement, **values), None)


def _column(connection: Connection, statement: str, **values: Any) -> list[Any]:
    return list(connection.exec_driver_sql(statement, values).scalars())


# --- models, labels, sources: what names there are


def active_version(connection: Connection) -> Row | None:
    """Return the active model version (name, backbone, head, bundle, deployed_at, reason)."""
    return _first(
        connection,
        "SELECT model_version.id, name, backbone, head, bundle, deployed_at, reason"
        " FROM deployment JOIN model_version ON model_version.id = model_version_id"
        " ORDER BY deployment.id DESC LIMIT 1",
    )


def model_versions(connection: Connection) -> Iterator[Row]:
    """Yield all model versions, newest first.

    `accuracy` is that on images never learned from; `status` is active, retired (was active),
    rejected (by the gate) or candidate.
    """
    for row in _rows(
        connection,
        "SELECT name, bundle, backbone, head, created_at, json_array_length(classes) AS classes,"
        " coalesce(json_extract(metrics, '$.holdout_accuracy'),"
        " json_extract(metrics, '$.test_top1')) AS accuracy,"
        " CASE WHEN id = (SELECT model_version_id FROM deployment ORDER BY id DESC LIMIT 1)"
        " THEN 'active'"
        " WHEN id IN (SELECT model_version_id FROM deployment) THEN 'retired'"
        " WHEN (SELECT json_extract(verdict, '$.allowed') = 0 FROM training_run"
        " WHERE training_run.id = training_run_id) THEN 'rejected'"
        " ELSE 'candidate' END AS status"
        " FROM model_version ORDER BY id DESC",
    ):
        yield {**row, "active": row["status"] == "active"}


def newest_images(connection: Connection, count: int) -> Iterator[tuple[bytes, str]]:
    """Yield path and SHA-256 of the files that were classified last and are there."""
    statement = (
        "SELECT path_bytes, sha256 FROM file JOIN image ON image.id = image_id"
        " WHERE state = 'done' AND is_current = 1 AND removed_at IS NULL"
        " ORDER BY classified_at DESC LIMIT :count"
    )
    rows = connection.exec_driver_sql(statement, {"count": count})
    yield from ((row.path_bytes, row.sha256) for row in rows)


def known_labels(connection: Connection) -> list[str]:
    """Return the classes of all model versions."""
    statement = "SELECT DISTINCT value FROM model_version, json_each(classes) ORDER BY value"
    return _column(connection, statement)


def known_models(connection: Connection) -> list[str]:
    """Return the names of all model versions, newest first."""
    return _column(connection, "SELECT name FROM model_version ORDER BY id DESC")


def known_sources(connection: Connection) -> list[str]:
    """Return the titles of the sources that have files or have told of themselves."""
    return _column(
        connection,
        # Steps from one title to the next along the index instead of reading all of it.
        "WITH RECURSIVE title(name) AS (SELECT min(source) FROM file UNION ALL"
        " SELECT (SELECT min(source) FROM file WHERE source > name) FROM title"
        " WHERE name IS NOT NULL)"
        " SELECT name FROM title WHERE name IS NOT NULL"
        " UNION SELECT title FROM source_state ORDER BY 1",
    )


# --- failures


def failures(connection: Connection, limit: int = 0) -> Iterator[Row]:
    """Yield the files that could not be read, the latest first; at most `limit` (0: all)."""
    columns = "path, state, reason, attempts, next_try_at, state_at AS since, source"
    yield from _rows(
        connection,
        f"SELECT {columns} FROM file WHERE {_GIVEN_UP} AND is_current = 1 UNION ALL"
        f" SELECT {columns} FROM file WHERE {_WAITS} AND state = 'retry' AND is_current = 1"
        " ORDER BY since DESC LIMIT :limit",
        limit=limit or -1,
    )


def last_failures(connection: Connection, most: int = 5) -> list[Row]:
    """Return the files that were given up last, however many there are."""
    return list(
        _rows(
            connection,
            "SELECT path, reason, state_at FROM file"
            f" WHERE {_GIVEN_UP} AND is_current = 1 ORDER BY state_at DESC LIMIT :most",
            most=most,
        )
    )


def requeue(connection: Connection, now: str, path: bytes | None = None) -> int:
    """Queue failed files again with all their tries, one path or all; returns how many."""
    this = "" if path is None else " AND path_bytes = :path"
    return sum(
        connection.exec_driver_sql(
            "UPDATE file SET state = 'queued', reason = NULL, attempts = 0, next_try_at = NULL,"
            f" state_at = :now WHERE {failed} AND is_current = 1 AND removed_at IS NULL{this}",
            {"now": now, "path": path},
        ).rowcount
        for failed in (_GIVEN_UP, f"{_WAITS} AND state = 'retry'")
    )


# --- one file


def current(connection: Connection, path: bytes) -> Row | None:
    """Return state, reason and `removed_at` of a path's newest version."""
    return _first(
        connection,
        "SELECT state, reason, removed_at FROM file WHERE path_bytes = :path AND is_current = 1",
        path=path,
    )


def story(connection: Connection, path: bytes) -> list[Row]:
    """Return every version of a path, newest first, each with its `image`.

    An image has its `predictions` by all model versions, newest first, and its `labels`;
    a version that was never read has `image` None.
    """
    versions = _rows(
        connection,
        "SELECT source, path, is_current, size, mtime_ns, state, reason, attempts, next_try_at,"
        " claimed_by, found_at, state_at, removed_at, classified_at, image_id, prediction_id"
        " FROM file WHERE path = :text AND path_bytes = :path ORDER BY is_current DESC, id DESC",
        path=path,
        text=path.decode("utf-8", "backslashreplace"),
    )
    return [_with_image(connection, version) for version in list(versions)]


def _with_image(connection: Connection, version: Row) -> Row:
    image_id, shown = version.pop("image_id"), version.pop("prediction_id")
    image = _first(
        connection,
        "SELECT sha256, size, format, width, height, taken_at, phash, split, first_seen_at"
        " FROM image WHERE id = :image",
        image=image_id,
    )
    if image is not None:
        image["predictions"] = _predictions(connection, image_id, shown)
        image["labels"] = list(
            _rows(
                connection,
                "SELECT label, source, who, labelled_at, retracted_at FROM label"
                " WHERE image_id = :image ORDER BY id DESC",
                image=image_id,
            )
        )
    return {**version, "is_current": bool(version["is_current"]), "image": image}


def _predictions(connection: Connection, image_id: int, shown: int | None) -> list[Row]:
    found = _rows(
        connection,
        "SELECT model_version.name AS model_version, prediction.label, confidence, is_unknown,"
        " top_k, predicted_at, prediction.id IS :shown AS is_shown"
        " FROM prediction JOIN model_version ON model_version.id = model_version_id"
        " WHERE image_id = :image ORDER BY prediction.id DESC",
        image=image_id,
        shown=shown,
    )
    return [
        {
            **row,
            "is_unknown": bool(row["is_unknown"]),
            "is_shown": bool(row["is_shown"]),
            "top_k": json.loads(row["top_k"]),
        }
        for row in found
    ]


# --- how it stands


@dataclass(frozen=True, slots=True)
class Counts:
    """How many files are in each state; with `is_exact` False `done` is an estimate that
    counts ignored, vanished and replaced files too."""

    states: Mapping[str, int]
    is_exact: bool

    @property
    def waiting(self) -> int:
        """How many are still to be read."""
        return sum(self.states.get(state, 0) for state in WAITING)


def counts(connection: Connection) -> Counts:
    """Count the files by state: all in a small database, by indexes alone in a large one."""
    most = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM file").scalar_one()
    if most <= _COUNTED_EXACTLY:
        return Counts(_count(connection, "is_current = 1"), True)
    states = unfinished(connection)
    return Counts({"done": most - sum(states.values()), **states}, False)


def unfinished(connection: Connection) -> dict[str, int]:
    """Count the files that wait or were given up by state, by indexes alone."""
    return _count(connection, _WAITS) | _count(connection, _GIVEN_UP)


def _count(connection: Connection, condition: str) -> dict[str, int]:
    statement = f"SELECT state, count(*) FROM file WHERE {condition} GROUP BY state"
    return {row.state: row[1] for row in connection.exec_driver_sql(statement)}


def heartbeat(connection: Connection) -> Row | None:
    """Return the daemon's last sign of life, `detail` as a mapping; None before its first."""
    row = _first(connection, "SELECT pid, phase, started_at, beat_at, detail FROM heartbeat")
    return row and {**row, "detail": json.loads(row["detail"])}


def sources(connection: Connection) -> list[Row]:
    """Return what each source last told of itself."""
    return list(
        _rows(
            connection,
            "SELECT title, watching, alarm, alarm_at, listed_at FROM source_state ORDER BY title",
        )
    )


def labels_count(connection: Connection) -> int:
    """Return how many labels there are now."""
    statement = "SELECT count(*) FROM label WHERE retracted_at IS NULL"
    return int(connection.exec_driver_sql(statement).scalar_one())


def last_classified_at(connection: Connection) -> str | None:
    """Return when the newest result was recorded."""
    found = connection.exec_driver_sql("SELECT max(classified_at) FROM file").scalar()
    return None if found is None else str(found)


def latencies(connection: Connection, since: str, most: int = 1_000) -> list[float]:
    """Return how many seconds passed from finding to recording each file classified `since`, the
    latest `most` of them; one that was only classified again does not count."""
    statement = (
        "SELECT (julianday(classified_at) - julianday(found_at)) * 86400 FROM file"
        " WHERE classified_at >= :since AND state_at = classified_at"
        " ORDER BY classified_at DESC LIMIT :most"
    )
    return _column(connection, statement, since=since, most=most)
