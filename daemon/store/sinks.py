"""Questions about sinks: how each is, and what it has rejected."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

Row = dict[str, Any]

# To the letter as in the partial indexes, or SQLite does not use them.
_WAITS = "delivered_at IS NULL AND given_up_at IS NULL"
_GIVEN_UP = "given_up_at IS NOT NULL"


def sinks(connection: Connection) -> list[Row]:
    """Return how each sink is, by name: what waits, what was given up, and its last trouble."""
    states = connection.exec_driver_sql(
        "SELECT name, failures, error, next_try_at, delivered_at FROM sink_state"
    )
    found: dict[str, Row] = {row["name"]: dict(row) for row in states.mappings()}
    counts = {
        "waiting": _counts(connection, _WAITS),
        "given_up": _counts(connection, _GIVEN_UP),
    }
    names = sorted({*found, *counts["waiting"], *counts["given_up"]})
    empty = {"failures": 0, "error": None, "next_try_at": None, "delivered_at": None}
    return [
        {"name": name}
        | {what: count.get(name, 0) for what, count in counts.items()}
        | empty
        | found.get(name, {})
        for name in names
    ]


def rejected(connection: Connection, limit: int = 0) -> Iterator[Row]:
    """Yield the events that a sink rejected and has not taken, newest first (limit 0: all)."""
    columns = (
        "sink, event_id, kind, json_extract(payload, '$.path') AS path, attempts,"
        " given_up_at IS NOT NULL AS is_given_up, next_try_at, error AS reason, happened_at"
    )
    waits = f"{_WAITS} AND attempts > 0"
    rows = connection.exec_driver_sql(
        f"SELECT {columns} FROM delivery JOIN event ON event.id = event_id WHERE {_GIVEN_UP}"
        f" UNION ALL SELECT {columns} FROM delivery JOIN event ON event.id = event_id"
        f" WHERE {waits} ORDER BY event_id DESC LIMIT :limit",
        {"limit": limit or -1},
    )
    for row in rows.mappings():
        yield {**row, "is_given_up": bool(row["is_given_up"])}


def offer_again(connection: Connection, sink: str) -> int:
    """Offer a sink at once, with all tries, what it rejected; returns how many events."""
    changed = sum(
        connection.exec_driver_sql(
            "UPDATE delivery SET attempts = 0, next_try_at = NULL, given_up_at = NULL"
            f" WHERE sink = :sink AND {which}",
            {"sink": sink},
        ).rowcount
        for which in (_GIVEN_UP, f"{_WAITS} AND attempts > 0")
    )
    connection.exec_driver_sql(
        "UPDATE sink_state SET failures = 0, next_try_at = NULL WHERE name = :sink", {"sink": sink}
    )
    return changed


def _counts(connection: Connection, which: str) -> dict[str, int]:
    statement = f"SELECT sink, count(*) FROM delivery WHERE {which} GROUP BY sink"
    return {row[0]: row[1] for row in connection.exec_driver_sql(statement)}
