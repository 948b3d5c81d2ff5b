"""When the daemon starts a training run: labels changed, calm since, and no failure just now."""

import itertools
import os
import signal
import sqlite3

import pytest
from learning import draw_classes

from daemon.errors import PluginError
from daemon.learning.schedule import Plan
from daemon.retrain_thread import RetrainThread
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

    def clear(self):
        pass

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


def test_a_stopping_daemon_ends_the_run(watched):
    labels, clock, thread = watched
    labels.count = 5
    pass_time(clock, thread, 20)
    thread.stop(1.0)
    assert labels.started[0].stopped
    assert labels.ends == [(-15, True)]


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
