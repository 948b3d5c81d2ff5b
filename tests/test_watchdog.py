"""Whether all gets on: tasks by an injected clock, and the threads that must not end."""

import threading

import pytest

from daemon.errors import StageError
from daemon.stage import Stage
from daemon.systemd import Systemd
from daemon.testing import ManualClock, StubExecutor, until
from daemon.vigil import Vigil, batch_limit_s
from daemon.watchdog import Task, Watchdog


@pytest.fixture
def clock():
    return ManualClock()


def test_who_has_nothing_to_do_is_well(clock):
    dog = Watchdog(clock)
    for _ in range(3):
        clock.advance(1_000_000.0)
        assert dog.look([]) is None


def test_a_task_past_its_limit_hangs_until_it_has_ended(clock):
    dog = Watchdog(clock)
    batch, sink = Task(("batch", 1), "batch 1", 60.0), Task("sink", "sink jsonl", 600.0)
    assert dog.look([batch, sink]) is None
    clock.advance(60.0)
    assert dog.look([batch, sink]) is None
    clock.advance(1.0)
    assert dog.look([batch, sink]) == "batch 1 for 61 s (limit 60)"
    assert dog.look([sink]) is None
    assert dog.look([batch, sink]) is None  # begun anew


def test_other_work_that_is_done_meanwhile_hides_no_hanging_batch(clock):
    dog, seen = Watchdog(clock), []
    for number in range(100):
        seen.append(dog.look([Task("old", "batch 0", 60.0), Task(number, "batch", 60.0)]))
        clock.advance(1.0)
    assert seen.count(None) == 61 and "batch 0" in seen[-1]


def test_a_batch_may_take_its_images_time_and_wait_for_another():
    assert batch_limit_s(20.0, 32) == 2 * (20 * 33 + 60) + 600


class Heard(Systemd):
    """Keeps what would be sent."""

    def __init__(self, clock):
        super().__init__("/nowhere", clock, watchdog_s=4.0)
        self.lines = []

    def _say(self, *lines):
        self.lines.extend(lines)


class Work:
    """What a vigil sees of pipeline and switcher."""

    batches, in_flight, starting = (), 0, None


def vigil(clock, work, heard):
    return Vigil(heard, work, work, lambda: 60.0, clock)


def look(watch, clock, seconds, stages=()):
    for _ in range(seconds):
        clock.advance(1.0)
        watch.look(stages)


def test_the_watchdog_is_fed_while_work_gets_on_and_starves_when_a_batch_does_not(clock):
    work, heard = Work(), Heard(clock)
    watch = vigil(clock, work, heard)
    look(watch, clock, 100)
    assert heard.lines.count("WATCHDOG=1") == 100
    work.batches = [7]
    look(watch, clock, 61)
    heard.lines.clear()
    look(watch, clock, 30)
    assert "WATCHDOG=1" not in heard.lines
    assert "batch 7" in watch.stuck
    work.batches = [8]
    look(watch, clock, 1)
    assert "WATCHDOG=1" in heard.lines and watch.stuck is None


def test_a_model_that_loads_for_long_gets_more_time_and_one_that_hangs_does_not(clock):
    work, heard = Work(), Heard(clock)
    watch, work.starting = vigil(clock, work, heard), "cifar10"
    look(watch, clock, 3601)
    assert heard.lines.count("EXTEND_TIMEOUT_USEC=120000000") == 3601
    heard.lines.clear()
    look(watch, clock, 10)
    assert heard.lines == []


def test_workers_that_cannot_be_replaced_hang_on_nothing_of_ours(clock):
    from daemon.pipeline import Lane, Pipeline

    executor = StubExecutor(lambda batch: batch)
    pipeline = Pipeline(None, None, None, clock)
    pipeline._lanes[3] = Lane(executor, 1, "stub")
    assert list(pipeline.batches) == [3]
    executor.trouble = "a worker cannot be replaced: no memory"
    assert list(pipeline.batches) == []


def test_a_stage_that_hangs_in_a_step_starves_the_watchdog_and_one_at_rest_does_not(clock):
    heard, goes_on, stop = Heard(clock), threading.Event(), threading.Event()
    watch = vigil(clock, Work(), heard)

    def work():
        yield 0.0
        goes_on.wait(30.0)
        yield 30.0

    stage = Stage("sink slow", work, stop, limit_s=5.0)
    stage.start()
    until(lambda: stage.task is not None and stage.task.key[1] == 1)
    look(watch, clock, 7, [stage])
    assert watch.stuck.startswith("sink slow is at one step for 6 s")
    goes_on.set()
    until(lambda: stage.task is None)
    look(watch, clock, 100, [stage])
    assert watch.stuck is None
    stop.set()
    stage.join(10.0)
    assert not stage.is_alive and stage.death is None


def ends():
    yield 0.0


def raises():
    yield 0.0
    raise MemoryError("no more")


def leaves():
    yield 0.0
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("work", "why"),
    [(ends, "nothing was left"), (raises, "MemoryError: no more"), (leaves, "SystemExit: 3")],
)
def test_a_stage_that_dies_takes_the_daemon_down_with_a_message(clock, work, why):
    stage = Stage("upkeep", work, threading.Event())
    stage.start()
    stage.join(10.0)
    with pytest.raises(StageError, match=rf"upkeep has ended \({why}.*start it again") as raised:
        look(vigil(clock, Work(), Heard(clock)), clock, 1, [stage])
    assert raised.value.exit_code == 1
