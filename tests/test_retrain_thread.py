"""When the daemon starts a training run: labels changed, calm since, and no failure just now."""

import itertools
import os
import signal
import sqlite3

import pytest
from filled import at
from learning import draw_classes
from test_compare import labelled as give

from daemon.app import Wiring
from daemon.config import load
from daemon.errors import PluginError
from daemon.label_changes import LabelChanges
from daemon.learning.schedule import Plan
from daemon.lock import training_lock
from daemon.proposing import history, next_run, proposal
from daemon.retrain_thread import RetrainThread
from daemon.store.database import reading
from daemon.store.label_changes import changed_since
from daemon.testing import ManualClock, daemon_process, until


class FakeProcess:
    pid = 1

    def __init__(self):
        self.code, self.stopped = None, False

    def ended(self):
        return self.code

    def stop(self, deadline_s):
        self.stopped, self.code = True, -15

    def said(self):
        return ""


class FakeLabels:
    """Labels that change when told to; keeps what was started."""

    def __init__(self):
        self.count, self.due, self.started, self.ends = 0, True, [], []

        self.steps, self.broken, self.asked = itertools.count(), False, 0

    def settle(self):
        pass

    def step(self):
        return next(self.steps)

    def proposal(self):
        self.asked += 1
        if self.broken:
            raise PluginError("retrainer 'mine' broke")
        return Plan("probe", "due") if self.due else None

    def changed(self):
        return self.count

    def start(self):
        self.started.append(FakeProcess())
        return self.started[-1]

    def ended(self, process, code, stopped):
        self.ends.append((code, stopped))


@pytest.fixture
def watched():
    labels, clock = FakeLabels(), ManualClock()
    return labels, clock, RetrainThread(labels, clock)


def pass_time(clock, thread, seconds):
    for _ in range(int(seconds / 2)):
        clock.advance(2)
        thread.look()


def test_a_run_begins_when_labels_have_stopped_coming(watched):
    labels, clock, thread = watched
    pass_time(clock, thread, 60)
    assert not labels.started  # nothing was labelled
    for labels.count in range(1, 20):
        pass_time(clock, thread, 4)
    assert not labels.started
    pass_time(clock, thread, 12)
    assert len(labels.started) == 1
    pass_time(clock, thread, 100)
    assert len(labels.started) == 1  # one at a time


def test_the_end_of_a_process_is_written_down_and_a_failed_one_not_repeated_at_once(watched):
    labels, clock, thread = watched
    labels.count = 5
    pass_time(clock, thread, 20)
    labels.started[0].code = -9
    pass_time(clock, thread, 300)
    assert labels.ends == [(-9, False)]
    assert len(labels.started) == 1
    pass_time(clock, thread, 600)
    assert len(labels.started) == 2


def test_what_is_not_due_is_not_asked_for_at_every_look(watched):
    labels, clock, thread = watched
    labels.count, labels.due = 5, False
    pass_time(clock, thread, 600)
    assert labels.asked <= 600 / 30
    labels.due = True
    pass_time(clock, thread, 32)
    assert labels.started


def test_a_run_that_gets_no_further_is_ended(watched):
    labels, clock, thread = watched
    labels.count = 5
    pass_time(clock, thread, 8 * 3600)
    assert not labels.started[0].stopped  # slow, and on its way
    labels.steps = itertools.repeat("fit")
    pass_time(clock, thread, 5 * 3600)
    assert not labels.started[0].stopped
    pass_time(clock, thread, 2 * 3600)
    assert labels.started[0].stopped
    assert labels.ends == [(-15, False)]


def test_a_retrainer_that_breaks_is_not_asked_at_every_look(watched):
    labels, clock, thread = watched
    labels.count, labels.broken = 5, True
    with pytest.raises(PluginError):
        pass_time(clock, thread, 20)
    pass_time(clock, thread, 500)
    with pytest.raises(PluginError):
        pass_time(clock, thread, 200)


@pytest.mark.parametrize(
    ("answer", "says"), [(ValueError("boom"), "broke .*ValueError: boom"), ("soon", "'soon'")]
)
def test_a_retrainer_that_breaks_is_named(filled, engine, tmp_path, monkeypatch, answer, says):
    class Mine:
        def propose(self, history):
            if isinstance(answer, Exception):
                raise answer
            return answer

    wiring = Wiring(load(tmp_path / "config.yaml", {}))
    table = type(wiring.catalogue.retrainers)
    monkeypatch.setattr(table, "build", lambda self, choice, base: Mine())
    with pytest.raises(PluginError, match=f"retrainer 'auto' .*{says}"):
        proposal(wiring, engine)


def test_a_stopping_daemon_ends_the_run(watched):
    labels, clock, thread = watched
    labels.count = 5
    pass_time(clock, thread, 20)
    thread.stop(1.0)
    assert labels.started[0].stopped
    assert labels.ends == [(-15, True)]


# --- what counts as changed


def image(filled, seconds=0, label="cat", **more):
    image_id = filled.image()
    give(filled, image_id, label, seconds, **more)
    return image_id


def run(filled, state, seconds, **more):
    row = {"strategy": "probe", "state": state, "plan": {}, "data": {}, "metrics": {}} | more
    from filled import at

    return filled.insert("training_run", started_at=at(seconds), **row)


def test_what_is_labelled_as_before_has_not_changed(filled, engine):
    def changed():
        with reading(engine) as connection:
            return changed_since(connection, at(5))

    given_and_taken = image(filled, 1)
    assert changed() == 0
    give(filled, given_and_taken, "dog", 6, retracted_at=at(7))
    assert changed() == 0  # labelled, and taken back
    image(filled, 8, recorded_at=at(8), labelled_at=at(-999))
    assert changed() == 1  # whenever it was said
    filled.execute("UPDATE label SET retracted_at = ? WHERE image_id = 1", (at(9),))
    assert changed() == 2
    give(filled, given_and_taken, "cat", 10)
    assert changed() == 1  # the same label once more


def test_an_interrupted_run_is_none_and_a_failed_one_learned_nothing(filled, engine, tmp_path):
    settings = load(tmp_path / "config.yaml", {}).settings.retrain

    def seen():
        with reading(engine) as connection:
            return history(settings, connection, 1_777_636_900.0)

    def next_one():
        with reading(engine) as connection:
            return next_run(settings, connection, 1_777_636_900.0)

    for number in range(12):
        image(filled, number, ("cat", "dog")[number % 2])
    run(filled, "interrupted", 20)
    assert (seen().changed, seen().last_run_at, seen().has_failed) == (12, None, False)
    assert "due now: 12 labels changed" in next_one()
    run(filled, "failed", 30)
    assert (seen().changed, seen().has_failed) == (12, True)
    assert "as the last failed" in next_one()
    for number in range(settings.min_new_labels):
        image(filled, 31, ("cat", "dog")[number % 2])
    assert not seen().has_failed  # with so many more it may well come to something
    run(filled, "finished", 40)
    assert seen().changed == 0
    assert next_one() == "when labels change"


def test_what_was_learned_from_has_not_changed_whatever_the_clock_did(filled, engine, tmp_path):
    """The labels came while the clock was an hour ahead, so that no run seems to have had them."""
    settings = load(tmp_path / "config.yaml", {}).settings.retrain

    def seen():
        with reading(engine) as connection:
            return history(settings, connection, 1_777_636_900.0)

    def changed():
        return seen().changed

    for _ in range(3):
        image(filled, 3600)
    run(filled, "finished", 10, plan={"as_of": at(10), "labels": [3, 0]})
    assert changed() == 0
    image(filled, 20)
    assert changed() == 4
    run(filled, "finished", 30, plan={"as_of": at(30), "labels": [4, 0]})
    run(filled, "finished", 40, plan={"as_of": at(10), "labels": [4, 0], "repeats": 1})
    image(filled, 3600)
    assert changed() == 4  # a run that repeats one learned nothing new
    run(filled, "finished", 9999, plan={"as_of": at(9999), "labels": [5, 0]})
    assert changed() == 0
    image(filled, 50)
    assert changed() == 6  # what came since a time that has not come nobody knows
    assert seen().last_run_at is None


# --- what a process left


@pytest.fixture
def changes(filled, engine, tmp_path):
    (tmp_path / "state").mkdir()
    wiring = Wiring(load(tmp_path / "config.yaml", {}))
    return LabelChanges(wiring, engine, start=lambda config, log: FakeProcess())


def test_a_run_whose_daemon_was_killed_too_is_ended_and_due_again(
    changes, filled, engine, tmp_path
):
    run(filled, "running", 1)
    left = tmp_path / "state" / "training-left"
    left.mkdir()
    image(filled)
    state = "SELECT state FROM training_run"
    with training_lock(tmp_path / "state"):  # by hand: it does go on
        assert changes.changed() == 1
        assert filled.execute(state) == [("running",)]
    assert changes.changed() == 1
    assert filled.execute(state) == [("interrupted",)]
    assert not left.exists()
    with reading(engine) as connection:
        settings = load(tmp_path / "config.yaml", {}).settings.retrain
        assert history(settings, connection, 1_777_636_900.0).last_run_at is None


def test_a_process_that_begins_no_run_is_not_taken_for_the_run_before(changes, filled, caplog):
    caplog.set_level("INFO")
    verdict = {"allowed": True, "reasons": ["Better."]}
    run(filled, "finished", 1, verdict=verdict)
    process = changes.start()
    process.said = lambda: "config.yaml: no such key"
    changes.ended(process, 2, stopped=False)
    (said,) = (record.getMessage() for record in caplog.records)
    assert "no training run has begun: its process ended with code 2" in said
    assert "no such key" in said
    caplog.clear()
    run(filled, "finished", 2, verdict=verdict)
    changes.ended(process, 0, stopped=False)
    assert "training run 2: its challenger goes live" in caplog.text


# --- the real thing


@pytest.mark.slow
def test_a_killed_training_process_costs_one_run(tmp_path):
    """The daemon serves on, and the run that was killed is recorded with how it ended."""
    settings = {
        "runtime": "keras",
        "model": {"backbone": "compact", "image_size": 48},
        "retrain": {"strategy": "probe", "min_new_labels": 10},
    }
    with daemon_process(tmp_path, settings) as daemon:
        draw_classes(tmp_path / "labels")
        daemon.start()
        daemon.until_done(78)
        running = "SELECT count(*) FROM training_run WHERE state = 'running'"
        until(lambda: daemon.query(running) == [(1,)], what=f"a run; see {daemon.log}")
        os.kill(_trainer(daemon.process.pid), signal.SIGKILL)
        state = "SELECT state, log FROM training_run"
        until(lambda: daemon.query(state)[0][0] == "failed", what="the run's end")
        assert "signal 9" in daemon.query(state)[0][1]
        assert daemon.query("SELECT count(*) FROM deployment") == [(1,)]
        draw_classes(daemon.inbox, 1, start=900)
        daemon.until_done(81)
        assert daemon.stop() == 0
    with sqlite3.connect(daemon.database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def _trainer(parent):
    from pathlib import Path

    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"retrain" in command and str(parent).encode() in command:
            return int(folder.name)
    raise AssertionError("there is no training process")


@pytest.mark.slow
def test_labels_in_a_folder_bring_a_better_model_by_themselves(tmp_path):
    settings = {
        "runtime": "keras",
        "model": {"backbone": "compact", "image_size": 48},
        "retrain": {"strategy": "probe", "min_new_labels": 10},
    }
    with daemon_process(tmp_path, settings) as daemon:
        draw_classes(tmp_path / "labels")
        daemon.start()
        live = "SELECT name FROM deployment JOIN model_version v ON v.id = model_version_id"
        until(lambda: len(daemon.query(live)) == 2, what=f"a deployment; see {daemon.log}")
        until(lambda: "model compact-1 is active" in daemon.log.read_text(), what="the swap")
        assert "its challenger goes live" in until(
            lambda: text if "training run 1" in (text := daemon.log.read_text()) else "",
            what="the verdict in the log",
        )
        draw_classes(daemon.inbox, 2, start=900)
        daemon.until_done(84)
        said = daemon.query("SELECT path, label, model_version FROM latest_prediction")
        new = [row for row in said if row[0].startswith(str(daemon.inbox))]
        assert {(path.split("/")[-2], label) for path, label, _ in new} == {
            ("blue", "blue"), ("green", "green"), ("red", "red"),
        }  # fmt: skip
        assert {version for _, _, version in new} == {"compact-1"}
        assert daemon.run("models", "rollback").returncode == 0
        until(lambda: "model cifar10 is active" in daemon.log.read_text().split("compact-1")[-1])
        assert daemon.stop() == 0
