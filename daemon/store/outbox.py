"""The outbox: events written with what they tell of, and their way to each sink."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, text, update

from daemon.domain import Event
from daemon.store.database import reading, writing
from daemon.store.schema import Delivery
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
    """An event that a sink has not got yet, and how often it was tried."""

    event: Event
    attempts: int


class Outbox:
    """What is still to be delivered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self, sink: str, now: str, most: int = 200) -> list[Waiting]:
        """Return the oldest undelivered events of a sink; none while its first must wait."""
        query = (
            select(EventRow.id, EventRow.kind, EventRow.happened_at, EventRow.payload)
            .add_columns(Delivery.attempts, Delivery.next_try_at)
            .join(Delivery, Delivery.event_id == EventRow.id)
            .where(Delivery.sink == sink, text("delivered_at IS NULL"))
            .order_by(Delivery.event_id)
            .limit(most)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        if rows and rows[0].next_try_at is not None and rows[0].next_try_at > now:
            return []
        return [Waiting(Event(r.id, r.kind, r.happened_at, r.payload), r.attempts) for r in rows]

    def delivered(self, sink: str, event_ids: Sequence[int], now: str) -> None:
        """Note that a sink has got these events."""
        if event_ids:
            self._set(sink, event_ids, delivered_at=now, error=None)

    def failed(self, sink: str, waiting: Waiting, error: str, next_try_at: str) -> None:
        """Note that a sink refused an event, and when to offer it again."""
        self._set(
            sink,
            [waiting.event.event_id],
            attempts=waiting.attempts + 1,
            error=error,
            next_try_at=next_try_at,
        )

    def _set(self, sink: str, event_ids: Sequence[int], **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                update(Delivery)
                .where(Delivery.sink == sink, Delivery.event_id.in_(list(event_ids)))
                .values(**values)
            )
