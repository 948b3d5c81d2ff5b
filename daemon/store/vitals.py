"""How the work stands, for monitoring: asked for every few seconds, so by indexes alone."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from daemon.clock import Clock, seconds_between
from daemon.store import queries
from daemon.store.run_rows import RunState

T = TypeVar("T")
RUN_OUTCOMES = ("live", "refused", "allowed", "trained", "failed", "interrupted", "running")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one sink has not taken: how many events, how often it refused in a row, and when the
    oldest event happened."""

    pending: int
    refusals: int
    oldest_at: str


class Sparing(Generic[T]):
    """Asks again only when a thousand times as long has passed as the last answer took.

    What counts rows is quick unless there are very many, and then a few do not matter.
    """

    def __init__(self, ask: Callable[[Connection], T], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._answer: T | None = None
        self._again_at = 0.0

    def read(self, connection: Connection) -> T:
        """Return the answer, or the last one where it cost much."""
        began = self._clock.elapsed()
        if self._answer is None or began >= self._again_at:
            self._answer = self._ask(connection)
            ended = self._clock.elapsed()
            self._again_at = ended + 1000 * (ended - began)
        return self._answer


def oldest_waiting_s(connection: Connection, now: str) -> float:
    """Return since when the file at the head of the queue is in it, or a claimed one claimed."""
    return max(age_s(connection, state, now) for state in ("queued", "claimed"))


def age_s(connection: Connection, state: str, now: str) -> float:
    """Return since when, of the files in a state, the one found first is in it; 0 without any."""
    statement = (
        "SELECT state_at FROM file WHERE state IN ('settling', 'queued', 'claimed', 'retry')"
        " AND state = ? ORDER BY next_try_at, id LIMIT 1"
    )
    at = connection.exec_driver_sql(statement, (state,)).scalar()
    return 0.0 if at is None else seconds_between(at, now)


def backlogs(connection: Connection) -> dict[str, Backlog]:
    """Return what each sink has not taken yet; no entry for one that has taken everything."""
    rows = connection.exec_driver_sql(
        "SELECT waiting.sink, pending, coalesce(failures, 0), happened_at FROM"
        " (SELECT sink, count(*) AS pending, min(event_id) AS oldest FROM delivery"
        " WHERE delivered_at IS NULL AND given_up_at IS NULL GROUP BY sink) AS waiting"
        " JOIN event ON event.id = oldest LEFT JOIN sink_state ON name = waiting.sink"
    )
    return {sink: Backlog(*told) for sink, *told in rows}


def given_up(connection: Connection) -> dict[str, int]:
    """Return how many events each sink has rejected for good; no entry for none."""
    rows = connection.exec_driver_sql(
        "SELECT sink, count(*) AS events FROM delivery WHERE given_up_at IS NOT NULL GROUP BY sink"
    )
    return {row.sink: row.events for row in rows}


def sources_up(connection: Connection) -> dict[str, bool]:
    """Return of each source whether it can be watched."""
    return {row["title"]: row["alarm"] is None for row in queries.sources(connection)}


class RunCounts:
    """Counts training runs by outcome; what has ended is read once, since rows may be large."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._last = 0

    def read(self, connection: Connection) -> dict[str, int]:
        """Return how many runs there are of each outcome."""
        going_on: Counter[str] = Counter()
        for run_id, outcome in _outcomes(connection, self._last):
            if going_on or outcome == RunState.RUNNING:
                going_on[outcome] += 1
            else:
                self._ended[outcome] += 1
                self._last = run_id
        return dict(self._ended + going_on)


def _outcomes(connection: Connection, after: int) -> Iterator[tuple[int, str]]:
    statement = (
        "SELECT id, state, json_extract(verdict, '$.allowed'), json_extract(data, '$.active')"
        " FROM training_run WHERE id > ? ORDER BY id"
    )
    for run_id, state, allowed, active in connection.exec_driver_sql(statement, (after,)):
        yield run_id, _outcome(state, allowed, active)


def _outcome(state: str, allowed: Any, active: Any) -> str:
    if state != RunState.FINISHED:
        return state
    if allowed is None:
        return "trained"
    if not allowed:
        return "refused"
    return "live" if active in (None, 1) else "allowed"
