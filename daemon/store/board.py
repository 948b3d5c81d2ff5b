"""The notice board between processes: heartbeat, sources' state, and requests to the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daemon.store.database import reading, writing
from daemon.store.schema import File, Heartbeat, Prediction, Request, SourceState

_ASKED = (
    select(Request.id, Request.kind, Request.argument)
    .where(Request.finished_at.is_(None))
    .order_by(Request.id)
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the daemon has not finished."""

    request_id: int
    kind: str
    argument: Mapping[str, Any]


class Board:
    """What the daemon tells of itself, and what commands ask of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def beat(self, pid: int, phase: str, started: str, now: str, detail: dict[str, Any]) -> None:
        """Write the heartbeat row."""
        row = {"pid": pid, "phase": phase, "started_at": started, "beat_at": now, "detail": detail}
        statement = upsert(Heartbeat).values(id=1, **row)
        with writing(self._engine) as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))

    def last_detail(self) -> dict[str, Any]:
        """Return the figures of the last heartbeat, of whatever process."""
        with reading(self._engine) as connection:
            return connection.execute(select(Heartbeat.detail)).scalar() or {}

    def source(self, title: str, **values: str | None) -> None:
        """Write what a source told of itself."""
        statement = upsert(SourceState).values(title=title, **values)
        with writing(self._engine) as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["title"], set_=values)
            )

    def notes(self) -> dict[str, str | None]:
        """Return what each source asked to be kept for it."""
        query = select(SourceState.title, SourceState.note)
        with reading(self._engine) as connection:
            return {row.title: row.note for row in connection.execute(query)}

    def forget_sources(self, keep: tuple[str, ...]) -> None:
        """Drop the state of sources that are no longer configured, and all old alarms."""
        with writing(self._engine) as connection:
            connection.execute(delete(SourceState).where(SourceState.title.not_in(keep)))
            connection.execute(update(SourceState).values(alarm=None, alarm_at=None))

    def ask(self, kind: str, argument: dict[str, Any], now: str) -> int:
        """Ask something of the running daemon; returns the request's number."""
        row = {"kind": kind, "argument": argument, "asked_at": now}
        with writing(self._engine) as connection:
            return connection.execute(
                insert(Request).values(row).returning(Request.id)
            ).scalar_one()

    def asked(self) -> list[Asked]:
        """Return the requests that are not finished, oldest first."""
        with reading(self._engine) as connection:
            return [Asked(*row) for row in connection.execute(_ASKED)]

    def finish(self, request_id: int, outcome: str, now: str) -> None:
        """Note that a request is done, and how it ended."""
        with writing(self._engine) as connection:
            connection.execute(
                update(Request)
                .where(Request.id == request_id)
                .values(finished_at=now, outcome=outcome)
            )

    def outcome(self, request_id: int) -> str | None:
        """Return how a request ended, None while it has not."""
        query = select(Request.outcome).where(Request.id == request_id)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()


class Stale:
    """Walks, once, over the done files whose prediction is not by the active version."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = 0

    def count(self, model_version_id: int) -> int:
        """Return how many files are stale."""
        query = select(func.count()).select_from(_stale(model_version_id).subquery())
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def take(self, most: int, model_version_id: int) -> list[Any]:
        """Return the next rows (id, path_bytes, size, mtime_ns, inode), none at the end."""
        query = _stale(model_version_id).where(File.id > self._last).order_by(File.id).limit(most)
        with reading(self._engine) as connection:
            rows = list(connection.execute(query).all())
        if rows:
            self._last = rows[-1].id
        return rows


def _stale(model_version_id: int) -> Any:
    return (
        select(File.id, File.path_bytes, File.size, File.mtime_ns, File.inode)
        .join(Prediction, Prediction.id == File.prediction_id)
        .where(File.is_current, File.removed_at.is_(None))
        .where(Prediction.model_version_id != model_version_id)
    )
