"""Training runs: begun, followed, and ended in one of several ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from daemon.store.database import reading, writing
from daemon.store.schema import TrainingRun


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


class TrainingRuns:
    """The record of attempts to make a model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, strategy: str, plan: dict[str, Any], now: str) -> int:
        """Write that a run has begun; returns its number."""
        row = {"strategy": strategy, "state": RunState.RUNNING, "started_at": now, "plan": plan}
        statement = insert(TrainingRun).values(**row, data={}, metrics={}).returning(TrainingRun.id)
        with writing(self._engine) as connection:
            return connection.execute(statement).scalar_one()

    def at(self, run_id: int, progress: dict[str, Any]) -> None:
        """Write which step a run is at."""
        self._set(run_id, progress=progress)

    def tell(self, run_id: int, data: dict[str, Any]) -> None:
        """Write what is known of a run's images before it learns from them."""
        self._set(run_id, data=data)

    def finish(
        self, run_id: int, data: dict[str, Any], metrics: Mapping[str, Any], now: str
    ) -> None:
        """Write what a run that nobody judges made of its data."""
        with writing(self._engine) as connection:
            conclude(connection, run_id, data, metrics, None, now)

    def fail(self, run_id: int, reason: str, now: str, state: RunState = RunState.FAILED) -> None:
        """Write why a run came to nothing."""
        self._set(run_id, state=state, log=reason, finished_at=now, progress=None)

    def fail_dead(self, reason: str, now: str, state: RunState = RunState.FAILED) -> list[int]:
        """End every run that is still called running; for whoever holds the lock of training,
        and so knows that none is. Returns their numbers."""
        statement = (
            update(TrainingRun)
            .where(TrainingRun.state == RunState.RUNNING)
            .values(state=state, log=reason, finished_at=now, progress=None)
            .returning(TrainingRun.id)
        )
        with writing(self._engine) as connection:
            return list(connection.execute(statement).scalars())

    def all(self) -> list[Run]:
        """Return every run, newest first."""
        return self._runs()

    def find(self, run_id: int) -> Run | None:
        """Return one run, None where there is none of this number."""
        return next(iter(self._runs(TrainingRun.id == run_id, limit=1)), None)

    def last(self, *states: RunState) -> Run | None:
        """Return the newest run in one of these states (any, if none is named)."""
        where = [TrainingRun.state.in_(states)] if states else []
        return next(iter(self._runs(*where, limit=1)), None)

    def folders(self) -> list[Path]:
        """Return the class folders that runs learned from, where they had any."""
        return sorted({Path(run.plan["folder"]) for run in self._runs() if "folder" in run.plan})

    def _runs(self, *where: Any, limit: int | None = None) -> list[Run]:
        query = select(*TrainingRun.__table__.columns).where(*where)
        query = query.order_by(TrainingRun.id.desc()).limit(limit)
        with reading(self._engine) as connection:
            return [_run(row) for row in connection.execute(query)]

    def _set(self, run_id: int, **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(TrainingRun).where(TrainingRun.id == run_id).values(**values))


def conclude(
    connection: Connection,
    run_id: int,
    data: dict[str, Any],
    metrics: Mapping[str, Any],
    verdict: dict[str, Any] | None,
    now: str,
) -> None:
    """Write what a run came to; for use in a transaction, beside the deployment it brings."""
    statement = update(TrainingRun).where(TrainingRun.id == run_id)
    statement = statement.values(state=RunState.FINISHED, finished_at=now, progress=None)
    connection.execute(statement.values(data=data, metrics=dict(metrics), verdict=verdict))


def _run(row: Any) -> Run:
    return Run(
        row.id,
        row.strategy,
        RunState(row.state),
        row.started_at,
        row.finished_at,
        row.plan,
        row.data,
        row.metrics,
        row.verdict,
        row.progress,
        row.log,
    )
