"""One step of the main job over a real inbox, with an executor that answers when told."""

import pytest

from daemon.domain import (
    Batch,
    BatchResult,
    FileStat,
    ImageFacts,
    Outcome,
    OutcomeKind,
    Score,
    Sighting,
    Verdict,
)
from daemon.errors import PassingDatabaseError
from daemon.pipeline import BatchRule, Lane, Pipeline
from daemon.requests import StaleFiles
from daemon.store.inbox import Inbox
from daemon.store.recording import Recorder
from daemon.testing import ManualClock, StubExecutor
from daemon.tries import Tries

NOW = "2026-05-01T12:00:00.000Z"
STAT = FileStat(10, 1, 7)


def classify(batch: Batch) -> BatchResult:
    """Call every file what its path says."""
    return BatchResult(batch, tuple(outcome(ref.file_id, ref.path) for ref in batch.files))


def outcome(file_id: int, path: bytes) -> Outcome:
    label = path.decode()
    facts = ImageFacts(f"{label:0>64}", 10, "PNG", 1, 1, None, "0" * 16)
    verdict = Verdict(label, 0.9, (Score(label, 0.9),))
    return Outcome(file_id, OutcomeKind.CLASSIFIED, STAT, facts.sha256, facts, verdict)


def crash_on(*guilty: bytes):
    """Answer like `classify`, but die whenever one of these paths is in the batch."""

    def answer(batch: Batch) -> BatchResult:
        if any(ref.path in guilty for ref in batch.files):
            return BatchResult(batch, failure="the worker was killed by signal 9")
        return classify(batch)

    return answer


class World:
    """A pipeline of batches of up to four, its lane, and a database."""

    def __init__(self, engine, filled, answer=classify, workers=1) -> None:
        self.filled = filled
        self.clock = ManualClock()
        self.inbox = Inbox(engine, "me")
        self.recorder = Recorder(engine, "me", (), Tries(self.clock))
        self.pipeline = Pipeline(self.inbox, self.recorder, BatchRule(4, 0.2), self.clock)
        self.executor = StubExecutor(answer, workers)
        self.lane = Lane(self.executor, filled.model("first"), "first")

    def find(self, *names: bytes) -> None:
        self.inbox.sighted("in", [Sighting(name, STAT, True) for name in names], NOW)

    def sizes(self) -> list[int]:
        return [len(batch.files) for batch in self.executor.waiting]

    def finish(self, executor: StubExecutor | None = None) -> None:
        self.pipeline.finish((executor or self.executor).finish())

    def work(self, executor: StubExecutor | None = None) -> int:
        """Finish batch after batch until none is left; returns how many."""
        executor = executor or self.executor
        count = 0
        self.pipeline.feed()
        while executor.waiting:
            self.finish(executor)
            self.pipeline.feed()
            count += 1
        return count

    def states(self) -> dict[str, str]:
        return dict(self.filled.execute("SELECT path, state FROM file WHERE is_current = 1"))

    def labels(self) -> dict[str, str]:
        return dict(self.filled.execute("SELECT path, label FROM latest_prediction"))


@pytest.fixture
def world(engine, filled):
    def world(**values) -> World:
        world = World(engine, filled, **values)
        world.pipeline.serve(world.lane)
        return world

    return world


def names(count: int) -> list[bytes]:
    return [b"%03d" % number for number in range(count)]


def test_an_idle_worker_takes_at_once_what_there_is(world):
    here = world()
    here.find(b"a")
    here.pipeline.feed()
    assert here.sizes() == [1] and here.pipeline.in_flight == 1


def test_while_all_workers_are_busy_a_batch_goes_when_full_or_old_enough(world):
    here = world()
    here.find(b"a")
    here.pipeline.feed()
    here.find(b"b", b"c")
    assert here.pipeline.feed() == pytest.approx(0.2)
    here.clock.advance(0.15)
    assert here.pipeline.feed() == pytest.approx(0.05)
    here.clock.advance(0.06)
    here.pipeline.feed()
    assert here.sizes() == [1, 2]


def test_a_full_batch_does_not_wait_for_its_time(world):
    here = world()
    here.find(b"a")
    here.pipeline.feed()
    here.find(*names(4))
    here.pipeline.feed()
    assert here.sizes() == [1, 4]


def test_workers_get_no_more_than_one_batch_to_come_each(world):
    here = world(workers=2)
    here.find(*names(50))
    assert here.pipeline.feed() is None
    assert here.sizes() == [4, 4, 4, 4]
    here.finish()
    here.pipeline.feed()
    assert here.sizes() == [4, 4, 4, 4]


def test_with_nothing_to_do_there_is_nothing_to_wait_for(world):
    here = world()
    assert here.pipeline.feed() is None and here.sizes() == []


def test_without_a_model_files_wait(engine, filled):
    here = World(engine, filled)
    here.find(b"a")
    assert here.pipeline.feed() is None
    assert here.states() == {"a": "queued"}


def test_every_file_ends_classified_once(world):
    here = world()
    here.find(*names(10))
    assert here.work() == 3
    assert here.labels() == {name.decode(): name.decode() for name in names(10)}
    assert here.pipeline.in_flight == 0


def test_a_failed_batch_is_halved_down_to_the_guilty_file(world):
    here = world(answer=crash_on(b"002"))
    here.find(*names(4))
    here.work()
    assert here.states() == {"000": "done", "001": "done", "002": "retry", "003": "done"}
    ((reason, attempts),) = here.filled.execute(
        "SELECT reason, attempts FROM file WHERE path = '002'"
    )
    assert (reason, attempts) == ("the worker was killed by signal 9", 1)


def test_two_guilty_files_in_one_batch_are_both_found(world):
    here = world(answer=crash_on(b"000", b"003"))
    here.find(*names(4))
    here.work()
    assert sorted(here.states().values()) == ["done", "done", "retry", "retry"]


def test_a_file_that_kills_every_worker_is_quarantined_in_the_end(world):
    here = world(answer=crash_on(b"a"))
    here.find(b"a")
    for _ in range(10):
        here.work()
        here.clock.advance(3600)
        here.inbox.requeue_due("2027-01-01T00:00:00.000Z")
    assert here.states() == {"a": "quarantined"}


def test_files_that_were_not_looked_at_go_again_unblamed(world):
    def first_only(batch: Batch) -> BatchResult:
        return BatchResult(batch, classify(batch).outcomes[:1])

    here = world(answer=first_only)
    here.find(*names(4))
    assert here.work() == 4
    assert set(here.states().values()) == {"done"}
    assert here.filled.execute("SELECT sum(attempts) FROM file") == [(0,)]


def test_a_batch_that_the_database_refuses_is_recorded_when_it_is_offered_again(world, monkeypatch):
    here = world()
    here.find(b"a", b"b")
    here.pipeline.feed()
    result = here.executor.finish()
    with monkeypatch.context() as refusing:
        refusing.setattr(here.recorder, "record", _refuse)
        with pytest.raises(PassingDatabaseError):
            here.pipeline.finish(result)
    assert here.pipeline.in_flight == 2
    here.pipeline.finish(result)
    assert here.states() == {"a": "done", "b": "done"}


def _refuse(*_):
    raise PassingDatabaseError("the disk is full")


# --- another model version


def second_lane(here: World) -> tuple[Lane, StubExecutor]:
    executor = StubExecutor(classify)
    return Lane(executor, here.filled.model("second"), "second"), executor


def versions(here: World) -> dict[str, str]:
    return dict(here.filled.execute("SELECT path, model_version FROM latest_prediction"))


def test_a_swap_happens_between_batches(world):
    here = world()
    here.find(*names(8))
    here.pipeline.feed()
    lane, executor = second_lane(here)
    assert here.pipeline.serve(lane) is here.lane
    here.find(b"later")
    here.pipeline.feed()
    while here.executor.waiting:
        here.finish()
    here.work(executor)
    assert versions(here) == {
        **{name.decode(): "first" for name in names(8)},
        "later": "second",
    }


def test_halves_of_a_batch_that_fails_after_the_swap_go_to_the_new_workers(world):
    here = world(answer=crash_on(*names(4)))
    here.find(*names(4))
    here.pipeline.feed()
    lane, executor = second_lane(here)
    here.pipeline.serve(lane)
    here.finish()
    assert here.executor.waiting == []
    here.work(executor)
    assert set(versions(here).values()) == {"second"} and len(versions(here)) == 4


def test_what_the_old_model_knew_says_nothing_to_the_new_one(world):
    here = world(answer=crash_on(b"b"))
    here.find(b"a")
    here.work()
    here.find(b"b")  # of the size of `a`, so its hash goes along
    here.pipeline.feed()
    assert here.executor.waiting[0].files[0].known
    lane, executor = second_lane(here)
    here.pipeline.serve(lane)
    failed = BatchResult(here.executor.waiting.pop(), ())  # nothing was looked at
    here.pipeline.finish(failed)
    assert [ref.known for ref in executor.waiting[0].files] == [frozenset()]


def test_stale_files_are_classified_again_after_what_is_new(world, engine):
    here = world()
    here.find(*names(6))
    here.work()
    lane, executor = second_lane(here)
    here.pipeline.serve(lane)
    here.pipeline.backlog = StaleFiles(engine)
    here.find(b"new")
    here.pipeline.feed()
    assert [batch.moves_state for batch in executor.waiting] == [True]
    here.work(executor)
    assert set(versions(here).values()) == {"second"} and len(versions(here)) == 7
    assert here.pipeline.backlog is None and not here.pipeline.is_classifying_again
    assert here.filled.execute("SELECT count(*) FROM prediction") == [(13,)]


def test_a_stale_file_that_kills_workers_keeps_its_old_answer(world, engine):
    here = world()
    here.find(*names(3))
    here.work()
    lane, _ = second_lane(here)
    lane.executor = executor = StubExecutor(crash_on(b"001"))
    here.pipeline.serve(lane)
    here.pipeline.backlog = StaleFiles(engine)
    here.work(executor)
    assert versions(here) == {"000": "second", "001": "first", "002": "second"}
    assert set(here.states().values()) == {"done"}


@pytest.mark.parametrize(
    ("queued", "oldest_s", "idle", "wait"),
    [
        (0, 9.0, 1, None),
        (1, 0.0, 1, 0.0),
        (1, 0.0, 0, 0.2),
        (1, 0.5, 0, 0.0),
        (4, 0.0, 0, 0.0),
    ],
)
def test_the_batch_rule(queued, oldest_s, idle, wait):
    assert BatchRule(4, 0.2).wait(queued, oldest_s, idle) == wait


def test_a_file_that_crashes_its_worker_is_quarantined_at_its_second_try_alone(world):
    def crash(batch: Batch) -> BatchResult:
        if any(ref.path == b"002" for ref in batch.files):
            return BatchResult(batch, failure="the worker was killed by signal 11", is_crash=True)
        return classify(batch)

    here = world(answer=crash)
    here.find(*names(4))
    here.work()
    assert here.states()["002"] == "retry"
    here.find(*names(7))
    here.inbox.requeue_due("2027-01-01T00:00:00.000Z")
    here.pipeline.feed()
    assert sorted(here.sizes()) == [1, 3]
    here.work()
    assert here.states() == {name.decode(): "done" for name in names(7)} | {"002": "quarantined"}
