"""What the daemon takes for a change of labels, and what it makes of a training process's end."""

import pytest
from filled import at
from test_compare import labelled as give
from test_retrain_thread import FakeProcess

from daemon.app import Wiring
from daemon.config import load
from daemon.errors import PluginError
from daemon.label_changes import LabelChanges
from daemon.lock import training_lock
from daemon.proposing import history, next_run, proposal
from daemon.store.database import reading
from daemon.store.label_changes import changed_since


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
    assert changed() == 1  # of a run in the future the labels' numbers tell what came since
    assert seen().last_run_at is None


# --- what a process left


@pytest.fixture
def changes(filled, engine, tmp_path):
    (tmp_path / "state").mkdir(exist_ok=True)
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


@pytest.fixture
def left(tmp_path):
    """What a training run left that was killed."""
    scratch = tmp_path / "state" / "training-left"
    half = tmp_path / "state" / "features" / "key" / "1.npy.part"
    alone = half.with_name("2.npy")
    whole = half.with_name("3.npy"), half.with_name("3.jsonl")
    scratch.mkdir(parents=True)
    half.parent.mkdir(parents=True)
    for path in (half, alone, *whole):
        path.touch()

    def kept():
        assert all(path.exists() for path in whole)
        return [path for path in (scratch, half, alone) if path.exists()]

    return kept


def test_what_killed_runs_left_goes_unless_somebody_trains(changes, left, tmp_path):
    with training_lock(tmp_path / "state"):  # by hand: it may be writing them
        changes.clear()
        assert len(left()) == 3
    changes.clear()
    assert left() == []


def test_what_a_run_of_the_daemons_own_left_goes_when_it_was_killed(changes, left):
    changes.ended(changes.start(), -9, stopped=False)
    assert left() == []


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
