"""Training runs: begun, followed, and ended in one of several ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, update

from daemon.store.database import reading, writing
from daemon.store.run_rows import RunState, all_runs
from daemon.store.schema import TrainingRun


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

    def folders(self) -> list[Path]:
        """Return the class folders that runs learned from, where they had any."""
        with reading(self._engine) as connection:
            plans = [run.plan for run in all_runs(connection)]
        return sorted({Path(plan["folder"]) for plan in plans if "folder" in plan})

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
