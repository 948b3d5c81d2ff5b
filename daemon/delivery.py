"""One sink's way out of the outbox: in order, until it refuses, and later again."""

import logging
import random
from collections.abc import Callable, Sequence

from daemon.clock import Clock, utc_text
from daemon.contracts import Sink
from daemon.errors import RejectedEventError, SinkError
from daemon.store.outbox import Outbox, Waiting

_log = logging.getLogger("classifyd.delivery")
TRIES = 10
"""So often an event that the sink rejects is offered to it before it is given up."""

_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 600.0
_LONGEST_ASKED_S = 86_400.0
_NOTE_EVERY_S = 1.0


def wait_s(failures: int, asked_s: float | None, chance: float) -> float:
    """Return the seconds until the next try after so many failures in a row.

    They double up to ten minutes, and `chance` (0 to 1) takes off up to a half, so that many
    senders do not come back at once. What the sink `asked_s` for is the least, up to a day.
    """
    grown = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return max(grown * (1 - chance / 2), min(asked_s or 0.0, _LONGEST_ASKED_S))


class Delivery:
    """Takes the events of one sink from the outbox to it.

    While the sink is in trouble it rests and no event passes another. An event that the sink
    rejects steps aside, so that later ones pass it, and is given up after `TRIES`. Where one
    new event after another is rejected, the sink itself must be in trouble: it rests as well.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._taken: list[int] = []
        self._count = 0
        self._note_at = 0.0

    def step(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Publish what may go now, and note what was taken; returns how many events.

        `is_over` is asked before each event whether to leave the rest for later.
        """
        self._count = 0
        latest = utc_text(self._clock.now() + _LONGEST_ASKED_S)
        self._failures, waiting = self._outbox.due(self.name, self._now(), latest)
        try:
            for each in waiting:
                if is_over() or not self._offer(each):
                    break
                if self._clock.elapsed() >= self._note_at:
                    self._note()
        finally:
            self._note()
        return self._count

    def close(self) -> None:
        """Close the sink."""
        try:
            self._sink.close()
        except Exception:
            _log.exception("sink %s could not be closed", self.name)

    def _offer(self, waiting: Waiting) -> bool:
        """Publish one event; tells whether the sink will take another."""
        try:
            self._sink.publish(waiting.event)
        except RejectedEventError as error:
            return self._set_aside(waiting, error)
        except Exception as error:
            self._fail(error)
            return False
        self._failures = 0
        self._taken.append(waiting.event.event_id)
        return True

    def _note(self) -> None:
        """Write down what was taken: often enough that a kill repeats little."""
        taken, self._taken = self._taken, []
        self._count += len(taken)
        self._note_at = self._clock.elapsed() + _NOTE_EVERY_S
        if taken:
            self._outbox.delivered(self.name, taken, self._now())

    def _set_aside(self, waiting: Waiting, error: SinkError) -> bool:
        """Let later events pass; tells whether they may, which a sink in trouble does not say."""
        self._note()
        said, tries = str(error), waiting.attempts + 1
        next_try_at = None if tries >= TRIES else self._later(tries, error)
        what = "is given up" if next_try_at is None else f"is tried again at {next_try_at}"
        event_id = waiting.event.event_id
        _log.warning("sink %s rejected event %d, which %s: %s", self.name, event_id, what, said)
        self._outbox.rejected(self.name, event_id, tries, said, next_try_at, self._now())
        if waiting.attempts:
            return True
        self._fail(error, is_passed=self._failures == 0)
        return self._failures == 1

    def _fail(self, error: Exception, is_passed: bool = False) -> None:
        """Count a failure; unless it is passed over, leave the sink alone for a time."""
        self._note()
        self._failures += 1
        said = str(error) or type(error).__name__
        next_try_at = None if is_passed else self._later(self._failures, error)
        if next_try_at is not None:
            _log.warning("sink %s rests until %s: %s", self.name, next_try_at, said)
        self._outbox.failed(self.name, self._failures, said, next_try_at)

    def _later(self, failures: int, error: Exception) -> str:
        asked_s = error.after_s if isinstance(error, SinkError) else None
        return utc_text(self._clock.now() + wait_s(failures, asked_s, self._chance()))

    def _now(self) -> str:
        return utc_text(self._clock.now())


def sink_names(names: Sequence[str]) -> tuple[str, ...]:
    """Name each sink for the database; the second of a kind is `jsonl-2`."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(result)
