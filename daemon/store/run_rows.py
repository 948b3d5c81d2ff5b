"""Training runs as they are read: plain rows, without the tables' classes, for quick commands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

_COLUMNS = (
    "id, strategy, state, started_at, finished_at, plan, data, metrics, verdict, progress, log"
)


class RunState(StrEnum):
    """How a training run stands; `interrupted` is no word on what it would have come to."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to make a challenger, as the database has it."""

    run_id: int
    strategy: str
    state: RunState
    started_at: str
    finished_at: str | None
    plan: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    verdict: Mapping[str, Any] | None
    progress: Mapping[str, Any] | None
    log: str | None

    @property
    def as_of(self) -> str:
        """The moment whose labels it learned from."""
        return str(self.data.get("as_of") or self.plan.get("as_of") or self.started_at)


DIED = "its process ended without a word: killed, or out of memory"


def as_it_is(run: Run, alone_since: str | None) -> Run:
    """Return how a run really stands: one that is called running, though it began before a
    moment at which nobody trained, has died. `alone_since` is that moment, before the row was
    read; None where somebody trains."""
    if run.state is not RunState.RUNNING or alone_since is None or run.started_at >= alone_since:
        return run
    return replace(run, state=RunState.INTERRUPTED, progress=None, log=DIED)


def all_runs(connection: Connection) -> list[Run]:
    """Return every run, newest first."""
    return _runs(connection, "1 = 1")


def find_run(connection: Connection, run_id: int) -> Run | None:
    """Return one run, None where there is none of this number."""
    return next(iter(_runs(connection, "id = ?", run_id)), None)


def last_run(connection: Connection) -> Run | None:
    """Return the newest run."""
    return next(iter(_runs(connection, "1 = 1 ORDER BY id DESC LIMIT 1")), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands, without all that is known of it, which may be very much.

    `as_of` is the moment whose labels it learned from, `labels` their fingerprint then.
    """

    run_id: int
    state: RunState
    started_at: str
    as_of: str
    labels: tuple[int, ...]
    progress: str | None


def standing(connection: Connection, *states: RunState) -> Standing | None:
    """Return how the newest run in one of these states stands; in any, if none is named."""
    marks = ", ".join("?" * len(states))
    return _standing(connection, f"state IN ({marks})" if states else "1 = 1", *states)


def learned(connection: Connection) -> Standing | None:
    """Return the newest run that came to something on the labels of its own time."""
    where = "state = ? AND json_extract(plan, '$.repeats') IS NULL"
    return _standing(connection, where, RunState.FINISHED)


def _standing(connection: Connection, where: str, *values: str) -> Standing | None:
    statement = (
        "SELECT id, state, started_at, coalesce(json_extract(plan, '$.as_of'),"
        " json_extract(data, '$.as_of'), started_at), json_extract(plan, '$.labels'), progress"
        f" FROM training_run WHERE {where} ORDER BY id DESC LIMIT 1"
    )
    row = connection.exec_driver_sql(statement, values).first()
    if row is None:
        return None
    labels = tuple(json.loads(row[4] or "[]"))
    return Standing(row[0], RunState(row[1]), row[2], row[3], labels, row[5])


def _runs(connection: Connection, where: str, *values: object) -> list[Run]:
    order = "" if "ORDER BY" in where else " ORDER BY id DESC"
    statement = f"SELECT {_COLUMNS} FROM training_run WHERE {where}{order}"
    return [_run(row) for row in connection.exec_driver_sql(statement, values)]


def _run(row: Any) -> Run:
    plan, data, metrics, verdict, progress = (json.loads(text or "null") for text in row[5:10])
    return Run(row[0], row[1], RunState(row[2]), row[3], row[4], plan, data, metrics, verdict,
               progress, row[10])  # fmt: skip
