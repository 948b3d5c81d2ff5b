"""One step of delivery: what waits for one sink, in order, until it refuses."""

import logging
from collections.abc import Sequence

from daemon.clock import Clock, utc_text
from daemon.contracts import Sink
from daemon.store.outbox import Outbox, Waiting

_log = logging.getLogger("classifyd.delivery")
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 600.0


def deliver(outbox: Outbox, name: str, sink: Sink, clock: Clock) -> int:
    """Publish what waits for one sink and note what it took; returns how many events.

    An event that is refused keeps its place: later ones wait, so that order is kept.
    """
    taken: list[int] = []
    try:
        for waiting in outbox.waiting(name, utc_text(clock.now())):
            try:
                sink.publish(waiting.event)
            except Exception as error:
                _refused(outbox, name, waiting, error, clock)
                break
            taken.append(waiting.event.event_id)
    finally:
        outbox.delivered(name, taken, utc_text(clock.now()))
    return len(taken)


def _refused(outbox: Outbox, name: str, waiting: Waiting, error: Exception, clock: Clock) -> None:
    wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**waiting.attempts)
    said = str(error) or type(error).__name__
    _log.warning("sink %s refused event %d: %s", name, waiting.event.event_id, said)
    outbox.failed(name, waiting, said, utc_text(clock.now() + wait_s))


def sink_names(names: Sequence[str]) -> tuple[str, ...]:
    """Name each sink for the database; the second of a kind is `jsonl-2`."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(result)
