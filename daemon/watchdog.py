"""Whether all that was begun gets on: judged by the work itself, not by a timer that ticks."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from daemon.clock import Clock


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work that goes on: `key` tells it from any other, `limit_s` is how many seconds
    it may take, `what` names it for people."""

    key: Hashable
    what: str
    limit_s: float


class Watchdog:
    """Remembers since when each task goes on. Who has nothing to do is well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Hashable, float] = {}

    def look(self, tasks: Iterable[Task]) -> str | None:
        """Take what goes on now; return what hangs, None while all is well.

        A task that is missing has ended: met again, it counts anew.
        """
        going, now = list(tasks), self._clock.elapsed()
        self._since = {task.key: self._since.get(task.key, now) for task in going}
        late = [task for task in going if now - self._since[task.key] > task.limit_s]
        if not late:
            return None
        oldest = min(late, key=lambda task: self._since[task.key])
        return f"{oldest.what} for {now - self._since[oldest.key]:.0f} s (limit {oldest.limit_s:g})"
