"""One step of the main job: claim what the workers can take, record what they return.

No threads and no signals: the loop calls in, and everything that varies is injected.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from daemon.clock import Clock, utc_text
from daemon.contracts import Executor
from daemon.domain import Batch, BatchResult, FileRef, Outcome, OutcomeKind
from daemon.observing import Nobody, Observer
from daemon.store.inbox import Inbox
from daemon.store.recording import Recorded, Recorder

LEASE_S = 3600.0


@dataclass
class Lane:
    """An executor, the model version it serves, and the batches it has in hand."""

    executor: Executor
    model_version_id: int
    name: str
    outstanding: dict[int, Batch] = field(default_factory=dict)

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return max(0, self.executor.workers - len(self.outstanding))

    @property
    def room(self) -> int:
        """How many batches more it takes: one in work and one waiting for each worker."""
        return max(0, 2 * self.executor.workers - len(self.outstanding))


@dataclass(frozen=True, slots=True)
class BatchRule:
    """When a batch goes: at once to an idle worker, else when full or when it waited enough."""

    max_size: int
    max_delay_s: float

    def wait(self, queued: int, oldest_s: float, idle: int) -> float | None:
        """Return how long to wait, in seconds, before a batch goes (0: now; None: no files)."""
        if queued == 0:
            return None
        if idle > 0 or queued >= self.max_size:
            return 0.0
        return max(0.0, self.max_delay_s - oldest_s)


Backlog = Callable[[int, int], Sequence[FileRef]]
"""Files to classify again: asked with (most, model version), answers none at the end."""


class Pipeline:
    """Keeps the workers of the current lane busy and the database up to date."""

    def __init__(
        self,
        inbox: Inbox,
        recorder: Recorder,
        rule: BatchRule,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        self._inbox = inbox
        self._recorder = recorder
        self.rule = rule
        self._clock = clock
        self._observer = observer or Nobody()
        self._ids = count(1)
        self._lanes: dict[int, Lane] = {}
        self._lane: Lane | None = None
        self._waiting_since: float | None = None
        self.is_held = False
        """Take no more files for now."""
        self.backlog: Backlog | None = None
        self.roots: tuple[bytes, ...] = ()
        """The folders of the sources, for `Batch.roots`."""

    @property
    def lane(self) -> Lane | None:
        """The lane that new batches go to."""
        return self._lane

    @property
    def in_flight(self) -> int:
        """How many files are with workers."""
        return sum(len(lane.outstanding[number].files) for number, lane in self._lanes.items())

    @property
    def batches(self) -> Collection[int]:
        """The numbers of the batches that are with workers that can work."""
        return [number for number, lane in self._lanes.items() if lane.executor.trouble is None]

    @property
    def is_classifying_again(self) -> bool:
        """Whether a batch of the backlog is with a worker."""
        return any(not lane.outstanding[number].moves_state for number, lane in self._lanes.items())

    def serve(self, lane: Lane) -> Lane | None:
        """Send new batches to another lane, from the next batch on; returns the one before."""
        before, self._lane = self._lane, lane
        return before

    def feed(self) -> float | None:
        """Hand out batches while there is room; return in how many seconds to come again.

        None: nothing waits that time alone would release.
        """
        lane = self._lane
        while lane is not None and lane.room and not self.is_held:
            queued = self._inbox.queued(self.rule.max_size)
            wait = self.rule.wait(queued, self._waited(queued), lane.idle)
            if wait is None:
                if not self._feed_backlog(lane):
                    return None
            elif wait > 0:
                return wait
            else:
                self._waiting_since = None
                for files in _apart(self._claim(lane)):
                    self._submit(lane, files)
        return None

    def _waited(self, queued: int) -> float:
        if queued == 0:
            self._waiting_since = None
            return 0.0
        if self._waiting_since is None:
            self._waiting_since = self._clock.elapsed()
        return self._clock.elapsed() - self._waiting_since

    def _claim(self, lane: Lane) -> Sequence[FileRef]:
        now = self._clock.now()
        return self._inbox.claim(
            self.rule.max_size, lane.model_version_id, utc_text(now), utc_text(now + LEASE_S)
        )

    def _feed_backlog(self, lane: Lane) -> bool:
        if self.backlog is None or not lane.idle:
            return False
        files = self.backlog(self.rule.max_size, lane.model_version_id)
        if not files:
            self.backlog = None
            return False
        self._submit(lane, files, moves_state=False)
        return True

    def _submit(self, lane: Lane, files: Sequence[FileRef], moves_state: bool = True) -> None:
        if files:
            batch = Batch(
                next(self._ids), lane.model_version_id, tuple(files), moves_state, self.roots
            )
            # First, so that nobody waits at the end for a batch that was refused.
            lane.executor.submit(batch)
            lane.outstanding[batch.batch_id] = batch
            self._lanes[batch.batch_id] = lane

    def finish(self, result: BatchResult) -> Recorded:
        """Record a batch. A failed one goes again in halves, down to the guilty file alone.

        When the database refuses, nothing has changed here, and it may be called again.
        """
        outcomes, began = _blamed(result), self._clock.elapsed()
        recorded = self._recorder.record(
            replace(result, outcomes=outcomes), utc_text(self._clock.now())
        )
        self._observer.recorded(result, recorded.counts, self._clock.elapsed() - began)
        lane = self._lanes.pop(result.batch.batch_id)
        del lane.outstanding[result.batch.batch_id]
        looked = {outcome.file_id for outcome in outcomes}
        left = [ref for ref in result.batch.files if ref.file_id not in looked]
        for files in _halves(left) if result.failure is not None else (left,):
            self._resubmit(lane, files, result.batch.moves_state)
        return recorded

    def _resubmit(self, lane: Lane, files: Sequence[FileRef], moves_state: bool) -> None:
        """Send files again, to the current lane: the one they were with may be ending."""
        current = self._lane or lane
        if current is not lane:
            files = [replace(ref, known=frozenset()) for ref in files]
        self._submit(current, files, moves_state)


def _blamed(result: BatchResult) -> tuple[Outcome, ...]:
    """Return the outcomes; a file that was alone in a failed batch has failed."""
    files = result.batch.files
    if result.failure is None or len(files) > 1:
        return result.outcomes
    kind = OutcomeKind.CRASHED if result.is_crash else OutcomeKind.TRANSIENT
    return (Outcome(files[0].file_id, kind, reason=result.failure),)


def _apart(files: Sequence[FileRef]) -> Iterator[Sequence[FileRef]]:
    """Keep files that failed before apart from the others, which they may harm."""
    yield [ref for ref in files if not ref.attempts]
    yield [ref for ref in files if ref.attempts]


def _halves(files: Sequence[FileRef]) -> Iterator[Sequence[FileRef]]:
    middle = len(files) // 2
    yield files[:middle]
    yield files[middle:]
