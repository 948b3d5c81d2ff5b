"""The wall clock is set back and forward: nothing is stranded, and nothing is done twice."""

import pytest
from filled import at
from test_compare import labelled
from test_pipeline import NOW, World, crash_on

from daemon.arrivals import Arrivals
from daemon.clock import utc_text
from daemon.config import load
from daemon.delivery import Delivery
from daemon.domain import FileStat, Sighting
from daemon.errors import RejectedEventError
from daemon.loop import Loop
from daemon.mailbox import Mailbox
from daemon.proposing import history
from daemon.store.board import Board
from daemon.store.database import reading, writing
from daemon.store.label_changes import newest_moment
from daemon.store.outbox import Outbox, publish
from daemon.testing import ManualClock, StubSink
from daemon.tries import WAITS_S

YEARS = 4 * 365 * 86_400.0
JUMPS = pytest.mark.parametrize("jump", [YEARS, -YEARS, 3600.0, -3600.0])


class NoSwitch:
    """A model that is never another."""

    def look(self):
        """See nothing."""


@pytest.fixture
def clock():
    return ManualClock()


class NoMail(Mailbox):
    """Nothing arrives, and nobody waits for it."""

    def get(self, timeout_s):
        """Look."""


@pytest.fixture
def world(engine, filled):
    world = World(engine, filled)
    world.arrivals = Arrivals(world.inbox, world.clock, lambda path: FileStat(10, 1, 7))
    parts = (NoMail(), world.inbox, world.arrivals, world.pipeline, NoSwitch(), Board(engine))
    world.loop = Loop(*parts, world.clock)
    world.pipeline.serve(world.lane)
    return world


def one_round(world):
    """The loop once around, a second later."""
    world.clock.advance(1.0)
    rounds = iter([False, True])
    world.loop.run(lambda: next(rounds), lambda: None)


@JUMPS
def test_what_is_claimed_when_the_clock_jumps_is_done_once(world, filled, jump):
    world.find(b"/a", b"/b")
    world.pipeline.feed()
    world.clock.set_by(jump)
    one_round(world)
    assert len(world.executor.waiting) == 1, "a lease ends by no clock"
    world.finish()
    assert filled.execute("SELECT state, count(*) FROM file GROUP BY state") == [("done", 2)]
    assert filled.execute("SELECT count(*) FROM prediction") == [(2,)]


@JUMPS
def test_what_a_killed_daemon_had_claimed_is_done_by_the_next_at_any_time(world, filled, jump):
    world.find(b"/a")
    world.pipeline.feed()
    world.executor.waiting.clear()
    world.clock.set_by(jump)
    assert world.inbox.release_claims(utc_text(world.clock.now())) == 1
    assert world.inbox.claim(1, 1, utc_text(world.clock.now()), at())


@JUMPS
def test_a_file_is_tried_again_within_its_wait_however_the_clock_jumps(world, filled, jump):
    world.find(b"/a")
    world.pipeline.feed()
    world.pipeline.finish(crash_on(b"/a")(world.executor.waiting.pop(0)))
    assert filled.execute("SELECT state FROM file") == [("retry",)]
    world.clock.set_by(jump)
    for _ in range(int(WAITS_S[0]) + 2):
        one_round(world)
    assert world.executor.waiting


@JUMPS
def test_a_file_settles_by_what_has_elapsed(world, filled, jump):
    sighting = Sighting(b"/a", FileStat(10, 1, 7), False)
    world.arrivals.found("in", [sighting])
    world.clock.set_by(jump)
    world.arrivals.settle()
    assert filled.execute("SELECT state FROM file") == [("settling",)]
    one_round(world)
    one_round(world)
    assert filled.execute("SELECT state FROM file") == [("claimed",)]


@JUMPS
@pytest.mark.parametrize("error", [ConnectionError("down"), RejectedEventError("odd")])
def test_a_sink_is_tried_again_within_a_day_however_the_clock_jumps(engine, clock, jump, error):
    answers = iter([error])

    def answer(event):
        for failure in answers:
            raise failure

    delivery = Delivery("stub", sink := StubSink(answer), Outbox(engine), clock)
    with writing(engine) as connection:
        publish(connection, [("failed", {"path": "/in/a.jpg"})], ("stub",), at())
    assert delivery.step() == 0
    clock.set_by(jump)
    for _ in range(25):
        clock.advance(3600.0)
        delivery.step()
    assert len(sink.events) == 1


def test_labels_given_while_the_clock_was_ahead_are_learned_from(filled, engine, tmp_path):
    """A run then stands in the future, and so does all that it has learned."""
    settings = load(tmp_path / "config.yaml", {}).settings.retrain
    image_id = filled.image()
    labelled(filled, image_id, "cat", YEARS)
    with reading(engine) as connection:
        as_of, labels = newest_moment(connection), [1, 0]
    assert as_of == at(YEARS) > NOW
    row = {"strategy": "probe", "state": "finished", "metrics": {}, "started_at": at()}
    filled.insert("training_run", **row, plan={"as_of": as_of, "labels": labels}, data={})

    def changed():
        with reading(engine) as connection:
            return history(settings, connection, 1_777_636_900.0).changed

    assert changed() == 0
    labelled(filled, filled.image(), "dog", 5)
    assert changed() == 1
    filled.execute("UPDATE label SET retracted_at = ? WHERE id = 1", (at(6),))
    assert changed() == 2
