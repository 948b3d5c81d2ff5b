"""What of the database need not be kept for ever, removed in transactions of a moment each.

Labels, predictions, images, files, model versions and deployments are not spoken of here: no row
of those is ever removed.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from daemon.store.database import reading, writing

BATCH = 2_000

_CHUNK = "SELECT id, happened_at FROM event WHERE id > ? ORDER BY id LIMIT ?"
_WAITS = "EXISTS (SELECT 1 FROM delivery WHERE event_id = event.id AND delivered_at IS NULL)"
_OLD_EVENTS = (
    "SELECT id, length(payload) AS size FROM event"
    f" WHERE id BETWEEN :first AND :last AND happened_at < :before AND {{}} {_WAITS}"
)
_THESE = "IN (SELECT value FROM json_each(:ids))"

# The moment since which nothing goes back to a version: the gate refused it, or another took its
# place. Those of the active version, of the one before it and of candidates have none.
_REPLACED = """
    WITH active AS (SELECT model_version_id AS id FROM deployment ORDER BY id DESC LIMIT 1),
    previous AS (SELECT model_version_id AS id FROM deployment
        WHERE model_version_id NOT IN (SELECT id FROM active) ORDER BY id DESC LIMIT 1),
    kept AS (SELECT bundle FROM model_version
        WHERE id IN (SELECT id FROM active UNION SELECT id FROM previous)),
    version AS (SELECT model_version.id, name, bundle,
        (SELECT max(id) FROM deployment WHERE model_version_id = model_version.id) AS deployed,
        CASE WHEN json_extract(verdict, '$.allowed') = 0
            THEN coalesce(finished_at, created_at) END AS refused_at
        FROM model_version LEFT JOIN training_run ON training_run.id = training_run_id)
    SELECT id, name, bundle FROM version
    WHERE bundle NOT IN (SELECT bundle FROM kept)
    AND :before > CASE WHEN deployed IS NULL THEN refused_at ELSE
        (SELECT deployed_at FROM deployment WHERE id > deployed ORDER BY id LIMIT 1) END
    ORDER BY id
"""

_OLD_LOGS = (
    "SELECT id, length(log) - instr(log, char(10)) AS size FROM training_run"
    " WHERE finished_at < :before AND instr(log, char(10)) > 0"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows went (or would), and how long their texts were together."""

    count: int = 0
    size: int = 0

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(self.count + other.count, self.size + other.size)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A model version to which nothing goes back, and the name of its bundle."""

    version_id: int
    name: str
    bundle: str


class Retention:
    """Finds what is older than asked; removes it unless `dry_run`."""

    def __init__(self, engine: Engine, dry_run: bool = False) -> None:
        self._engine = engine
        self._dry_run = dry_run

    def events(self, before: str) -> Iterator[Rows]:
        """Remove events of before then that every sink has got, with their deliveries."""
        return self._events("NOT", before)

    def undelivered(self, before: str) -> Iterator[Rows]:
        """Remove events of before then that some sink has not got."""
        return self._events("", before)

    def _events(self, condition: str, before: str) -> Iterator[Rows]:
        """Yield after each transaction, so that the caller can let others write in between.

        Events are about as old as their numbers say, so the first batch that holds no old one ends
        it; what a jumping clock has dated otherwise goes later.
        """
        last, find = 0, _OLD_EVENTS.format(condition)
        while True:
            with reading(self._engine) as connection:
                chunk = connection.exec_driver_sql(_CHUNK, (last, BATCH)).all()
            if not any(row.happened_at < before for row in chunk):
                return
            values = {"first": chunk[0].id, "last": chunk[-1].id, "before": before}
            last = chunk[-1].id
            yield self._remove(find, values, _delete_events)

    def requests(self, before: str) -> Rows:
        """Remove requests to the daemon that were met before then."""
        find = "SELECT id, length(argument) AS size FROM request WHERE finished_at < :before"
        return self._remove(find, {"before": before}, _delete_requests)

    def run_logs(self, before: str) -> Rows:
        """Cut the logs of training runs that ended before then to their first line."""
        return self._remove(_OLD_LOGS, {"before": before}, _cut_logs)

    def _remove(
        self, find: str, values: dict[str, Any], remove: Callable[[Connection, str], None]
    ) -> Rows:
        with self._transaction() as connection:
            found = connection.exec_driver_sql(find, values).all()
            if found and not self._dry_run:
                remove(connection, json.dumps([row.id for row in found]))
        return Rows(len(found), sum(row.size for row in found))

    def _transaction(self) -> AbstractContextManager[Connection]:
        return reading(self._engine) if self._dry_run else writing(self._engine)

    def replaced(self, before: str) -> list[Replaced]:
        """Return the model versions to which nothing goes back since before then."""
        with reading(self._engine) as connection:
            return _replaced(connection, before)

    def discard(self, version: Replaced, before: str, discard: Callable[[], None]) -> bool:
        """Call `discard` for a version's bundle unless somebody has activated it meanwhile, which
        nobody can while it lasts; tells whether it was called."""
        with writing(self._engine) as connection:
            if version not in _replaced(connection, before):
                return False
            discard()
            return True


def _replaced(connection: Connection, before: str) -> list[Replaced]:
    rows = connection.exec_driver_sql(_REPLACED, {"before": before})
    return [Replaced(*row) for row in rows]


def _delete_events(connection: Connection, ids: str) -> None:
    connection.exec_driver_sql(f"DELETE FROM delivery WHERE event_id {_THESE}", {"ids": ids})
    connection.exec_driver_sql(f"DELETE FROM event WHERE id {_THESE}", {"ids": ids})


def _delete_requests(connection: Connection, ids: str) -> None:
    connection.exec_driver_sql(f"DELETE FROM request WHERE id {_THESE}", {"ids": ids})


def _cut_logs(connection: Connection, ids: str) -> None:
    connection.exec_driver_sql(
        f"UPDATE training_run SET log = substr(log, 1, instr(log, char(10)) - 1) WHERE id {_THESE}",
        {"ids": ids},
    )
