"""The outbox: events written with what they tell of, and their way to each sink."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daemon.domain import Event
from daemon.store.database import reading, writing
from daemon.store.schema import IS_WAITING, Delivery, SinkState
from daemon.store.schema import Event as EventRow


def publish(
    connection: Connection,
    events: Sequence[tuple[str, Mapping[str, Any]]],
    sinks: Sequence[str],
    now: str,
) -> None:
    """Write events (kind, payload) and one delivery for each sink; none without sinks."""
    if not events or not sinks:
        return
    rows = [{"kind": kind, "happened_at": now, "payload": dict(p)} for kind, p in events]
    insertion = insert(EventRow).returning(EventRow.id, sort_by_parameter_order=True)
    ids = connection.execute(insertion, rows).scalars().all()
    deliveries = [{"event_id": event_id, "sink": sink} for event_id in ids for sink in sinks]
    connection.execute(insert(Delivery), deliveries)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that a sink has not got yet, and how often the sink rejected it."""

    event: Event
    attempts: int


class Outbox:
    """What is still to be delivered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(self, sink: str, now: str, latest: str, most: int = 200) -> tuple[int, list[Waiting]]:
        """Return how often a sink failed in a row, and its oldest events that may go now.

        No events while the sink rests; those that it rejected wait for their own next try. None
        waits beyond `latest`: a later time was told by a clock that has been set back since.
        """
        next_try_at = Delivery.next_try_at
        query = (
            select(EventRow.id, EventRow.kind, EventRow.happened_at, EventRow.payload)
            .add_columns(Delivery.attempts)
            .join(Delivery, Delivery.event_id == EventRow.id)
            .where(Delivery.sink == sink, text(IS_WAITING))
            .where(or_(next_try_at.is_(None), next_try_at <= now, next_try_at > latest))
            .order_by(Delivery.event_id)
            .limit(most)
        )
        with reading(self._engine) as connection:
            state = connection.execute(select(SinkState).where(SinkState.name == sink)).first()
            failures = 0 if state is None else state.failures
            if state is not None and now < (state.next_try_at or now) <= latest:
                return failures, []
            rows = connection.execute(query).all()
        return failures, [
            Waiting(Event(row.id, row.kind, row.happened_at, row.payload), row.attempts)
            for row in rows
        ]

    def delivered(self, sink: str, event_ids: Sequence[int], now: str) -> None:
        """Note that a sink has got these events, and so is well."""
        with writing(self._engine) as connection:
            _set(connection, sink, event_ids, delivered_at=now, error=None, next_try_at=None)
            _set_state(connection, sink, failures=0, error=None, next_try_at=None, delivered_at=now)

    def rejected(
        self,
        sink: str,
        event_id: int,
        attempts: int,
        error: str,
        next_try_at: str | None,
        now: str,
    ) -> None:
        """Note that a sink rejected an event, and when to offer it again; None: it is given up."""
        given_up_at = now if next_try_at is None else None
        with writing(self._engine) as connection:
            _set(
                connection,
                sink,
                [event_id],
                attempts=attempts,
                error=error,
                next_try_at=next_try_at,
                given_up_at=given_up_at,
            )

    def failed(self, sink: str, failures: int, error: str, next_try_at: str | None) -> None:
        """Note that a sink failed so often in a row, and until when it rests (None: not)."""
        with writing(self._engine) as connection:
            _set_state(connection, sink, failures=failures, error=error, next_try_at=next_try_at)

    def keep_only(self, sinks: Sequence[str]) -> None:
        """Forget the state of other sinks, and the rest that a start cuts short."""
        with writing(self._engine) as connection:
            connection.execute(delete(SinkState).where(SinkState.name.not_in(sinks)))
            connection.execute(update(SinkState).values(next_try_at=None))


def _set(connection: Connection, sink: str, event_ids: Sequence[int], **values: Any) -> None:
    connection.execute(
        update(Delivery)
        .where(Delivery.sink == sink, Delivery.event_id.in_(list(event_ids)))
        .values(**values)
    )


def _set_state(connection: Connection, sink: str, **values: Any) -> None:
    statement = upsert(SinkState).values(name=sink, **{"failures": 0, **values})
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
