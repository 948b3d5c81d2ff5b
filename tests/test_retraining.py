"""Labels in, a challenger out: judged, recorded, live only on the gate's word, and repeatable."""

import errno
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from learning import CONFIG, draw_classes, open_shop, quiet

from daemon import model_training, retraining
from daemon.cli import runs
from daemon.clock import utc_text
from daemon.errors import BusyError, PassingDatabaseError, TrainingError, UsageError
from daemon.lock import training_lock
from daemon.repeating import repeat
from daemon.retraining import default_plan, look, retrain
from daemon.run_record import recorded
from daemon.store.database import reading
from daemon.store.holdout import GATE_ALLOWED, Holdout
from daemon.store.labelled import LabelledImages
from daemon.store.models import Models, NewVersion
from daemon.store.run_rows import RunState, all_runs, find_run, last_run
from daemon.store.runs import TrainingRuns

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def shop(keras, tmp_path, classifyd):
    """An empty database beside a configuration for quick training."""
    wiring, engine = open_shop(tmp_path)
    yield wiring, engine
    engine.dispose()


@pytest.fixture
def labelled(shop, tmp_path, classifyd):
    """Twenty-six images of each of three colours, labelled as what they are."""
    folder = draw_classes(tmp_path / "in")
    assert classifyd("labels", "import", folder, "--yes").code == 0
    return shop


@pytest.fixture(scope="module")
def first_run(keras, tmp_path_factory):
    """A folder in which one training run over such images has ended, and what was held out before
    it; copy what is to be changed."""
    folder = tmp_path_factory.mktemp("first")
    wiring, engine = open_shop(folder)
    images = str(draw_classes(folder / "in"))
    command = [sys.executable, "-m", "daemon", "labels", "import", images, "--yes"]
    subprocess.run([*command, "--config", str(folder / "config.yaml")], check=True)
    sides = {image.sha256: image.side for image in LabelledImages(engine).now()}
    result = retrain(wiring, engine, default_plan(wiring, "asked for"), quiet)
    engine.dispose()
    return SimpleNamespace(folder=folder, sides=sides, result=result)


@pytest.fixture
def live(first_run, tmp_path, classifyd):
    """The same, to be worked with: its first challenger is live."""
    shutil.copytree(first_run.folder, tmp_path, dirs_exist_ok=True)
    wiring, engine = open_shop(tmp_path)
    yield wiring, engine
    engine.dispose()


def ask(engine, question, *more):
    with reading(engine) as connection:
        return question(connection, *more)


def trained(shop, **more):
    wiring, engine = shop
    return retrain(wiring, engine, default_plan(wiring, "asked for"), quiet, **more)


def relabel(classifyd, folder, tmp_path):
    """Label images of new places wrongly: each colour as the next."""
    wrong = tmp_path / "wrong"
    names = sorted(path.name for path in folder.iterdir())
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        shutil.copytree(folder / name, wrong / other)
    assert classifyd("labels", "import", wrong, "--yes").code == 0


def test_a_challenger_goes_live_and_everything_of_its_run_is_recorded(live, first_run, classifyd):
    result = first_run.result
    _, engine = live
    assert result.active
    assert Models(engine).active() == result.version
    newest = Models(engine).deployments()[0]
    assert (newest.reason, newest.who) == (GATE_ALLOWED, "training run 1")
    run = ask(engine, find_run, 1)
    assert (run.state, run.progress, run.verdict["allowed"]) == (RunState.FINISHED, None, True)
    assert run.data["classes"]["red"] == {"train": 21, "holdout": 5}
    assert run.metrics["holdout_accuracy"] == 1.0
    assert {"blur", "noise", "brightness", "jpeg"} <= set(run.metrics["robustness"])
    assert [curve["label"] for curve in run.metrics["learning_curve"]] == [
        None, "blue", "green", "red",
    ]  # fmt: skip
    listed = json.loads(classifyd("models", "list", "--format", "json").out)
    assert [row["status"] for row in listed] == ["active", "retired"]
    shown = classifyd("runs", "1").out
    assert "gate: allowed" in shown
    assert "always saying" in shown
    (row,) = json.loads(classifyd("runs", "--format", "json").out)
    assert (row["outcome"], row["images"]) == ("went live", 78)


def test_the_holdout_stands_from_the_first_label_on(live, first_run):
    _, engine = live
    assert set(first_run.sides.values()) == {"train", "holdout"}  # as soon as they are labelled
    after = {image.sha256: image.side for image in LabelledImages(engine).now()}
    assert first_run.sides == after


def test_wrong_labels_cannot_replace_the_champion(live, first_run, classifyd, tmp_path):
    champion = first_run.result.version
    draw_classes(tmp_path / "more", 60, start=100)
    relabel(classifyd, tmp_path / "more", tmp_path)
    result = trained(live)
    _, engine = live
    assert not result.verdict.allowed
    assert any("worse" in reason for reason in result.verdict.reasons)
    assert Models(engine).active() == champion
    listed = json.loads(classifyd("models", "list", "--format", "json").out)
    assert [row["status"] for row in listed] == ["rejected", "active", "retired"]
    assert "refused by the gate" in classifyd("runs").out
    assert f"{champion.name}" in classifyd("models", "compare", result.version.name).out


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_record(labelled, classifyd, tmp_path):
    wiring, engine = labelled
    first = trained(labelled)
    draw_classes(tmp_path / "later", 6, start=50)
    classifyd("labels", "import", tmp_path / "later", "--yes")
    again = repeat(wiring, engine, first.run_id, quiet)
    assert not again.active  # whatever the gate says: its labels are old
    one, other = (ask(engine, find_run, run) for run in (first.run_id, again.run_id))
    assert [runs.outcome(run) for run in (one, other)] == ["went live", "may go live"]
    assert one.data["classes"] == other.data["classes"]
    same = ("holdout_accuracy", "out_of_fold_log_loss", "robustness", "learning_curve")
    assert {key: one.metrics[key] for key in same} == {key: other.metrics[key] for key in same}
    weights = [_weights(wiring, version) for version in (first.version, again.version)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def _weights(wiring, version):
    import keras

    folder = wiring.loaded.settings.state_dir / "models" / version.bundle
    return keras.saving.load_model(folder / "model.keras").get_weights()


def test_only_a_run_that_came_to_a_model_is_repeated(shop):
    with pytest.raises(UsageError, match="training run 7 cannot be repeated"):
        repeat(*shop, 7, quiet)


def test_a_dry_run_tells_what_would_be_learned_from_and_what_is_wrong(
    labelled, classifyd, tmp_path
):
    (tmp_path / "in" / "red" / "000.png").unlink()
    broken = tmp_path / "in" / "blue" / "001.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    seen = look(*labelled, quiet)
    assert seen["images"] == 76
    kinds = {finding["kind"] for finding in seen["findings"]}
    assert "unreadable" in kinds
    reasons = " ".join(finding["reason"] for finding in seen["findings"])
    assert "its file is gone" in reasons
    assert "changed since" in reasons
    assert ask(labelled[1], all_runs) == []


# --- what goes wrong costs the run and nothing else


def failed(shop, message):
    with pytest.raises(TrainingError, match=message):
        trained(shop)
    run = ask(shop[1], last_run)
    assert run.state is RunState.FAILED
    assert message in run.log
    assert "state" not in run.data


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [((), 0, "there are: none"), (["red"], 9, "red 9"), (["blue", "red"], 2, "blue 2, red 2")],
)
def test_too_few_labels_are_told_class_by_class(shop, classifyd, tmp_path, names, count, message):
    if names:
        classifyd("labels", "import", draw_classes(tmp_path / "in", count, names), "--yes")
    failed(shop, message)
    assert "training needs two classes" in classifyd("runs").out


def test_an_emptied_holdout_leaves_the_champion_untouched(live, first_run, classifyd):
    champion = first_run.result.version
    _, engine = live
    for member in Holdout(engine).members():
        assert classifyd("label", member.paths[0], "--retract").code == 0
    failed(live, "no held-out image is left to judge by")
    assert Models(engine).active() == champion


def test_a_second_run_beside_the_first_waits_its_turn(labelled):
    wiring, engine = labelled
    with training_lock(wiring.loaded.settings.state_dir), pytest.raises(BusyError, match="going"):
        trained(labelled)
    assert ask(engine, all_runs) == []


@pytest.mark.slow
def test_what_a_killed_run_left_is_cleared_away_by_the_next(labelled):
    wiring, engine = labelled
    runs, state = TrainingRuns(engine), wiring.loaded.settings.state_dir
    runs.begin("probe", {}, utc_text(wiring.clock.now()))
    (state / "training-left").mkdir()
    (state / "models" / ".unfinished-x.part").mkdir(parents=True)
    trained(labelled)
    assert ask(engine, find_run, 1).state is RunState.INTERRUPTED
    assert not (state / "training-left").exists()
    assert not (state / "models" / ".unfinished-x.part").exists()


@pytest.mark.slow
def test_a_disk_that_is_full_costs_the_run_and_says_so(live, first_run, tmp_path):
    """A process that may write no file of more than a megabyte stands in for a full disk."""
    champion = first_run.result.version
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "sys.argv = ['classifyd', 'retrain', '--now']; from daemon.cli import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 1, ran.stderr
    assert "make room" in ran.stderr
    assert "Traceback" not in ran.stderr
    run = ask(live[1], last_run)
    assert (run.state, run.progress) == (RunState.FAILED, None)
    assert not list((tmp_path / "state" / "models").glob(".unfinished-*"))
    assert Models(live[1]).active() == champion
    assert len(Models(live[1]).versions()) == 2


def test_a_database_that_is_locked_as_a_run_ends_costs_waiting_and_no_more(shop, monkeypatch):
    answers = [PassingDatabaseError("locked"), "version"]

    def register(*arguments):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("daemon.run_record._rest", lambda seconds: False)
    monkeypatch.setattr(model_training, "make_manifest", lambda *arguments: None)
    monkeypatch.setattr(model_training, "write_bundle", lambda *arguments: None)
    monkeypatch.setattr(model_training, "register_installed", register)
    challenger = SimpleNamespace(model=None)
    assert model_training.register_challenger(*shop, challenger, {}, "a", 1) == "version"


def test_why_a_run_failed_is_told_even_if_it_cannot_be_written(shop, monkeypatch):
    def refuse(*arguments):
        raise PassingDatabaseError("locked")

    monkeypatch.setattr(TrainingRuns, "fail", refuse)
    with pytest.raises(TrainingError, match="too few"), recorded(*shop, 1):
        raise TrainingError("too few")


def test_a_full_disk_is_named_and_not_what_was_copied_to_it(shop):
    full = OSError(errno.ENOSPC, "No space left on device", "bundle", None, "state/models")
    with pytest.raises(TrainingError, match=r"^state/models: No space left"), recorded(*shop, 1):
        raise full


def test_a_rollback_while_a_challenger_is_judged_is_heeded(shop, monkeypatch):
    _, engine = shop
    models = Models(engine)
    first, second = (
        models.register(NewVersion(name, name, name, "compact", "softmax", (), {}), "")
        for name in ("first", "second")
    )
    models.deploy(second, "by hand", None, "")
    judged = []

    def compare(wiring, engine, challenger, champion, progress):
        judged.append(champion.name)
        if champion == second:
            models.deploy(first, "rollback", None, "")
        return SimpleNamespace(verdict=champion.name)

    monkeypatch.setattr(retraining, "compare_versions", compare)
    bench = SimpleNamespace(progress=quiet)
    run = retraining._Run(*shop, None, bench, 1)
    assert run._judged(None) == (first, "first")
    assert judged == ["second", "first"]


# --- the command


@pytest.mark.slow
def test_the_command_trains_only_what_is_due(labelled, classifyd, tmp_path):
    ran = classifyd("retrain", "--now")
    assert ran.code == 0, ran.err
    assert "compact-1 is active (training run 1)" in ran.out
    ran = classifyd("retrain")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "not due: next training when labels change")
    (tmp_path / "config.yaml").write_text(CONFIG.replace("strategy: probe", "strategy: null"))
    assert "only by `classifyd retrain --now`" in classifyd("retrain").out
    assert classifyd("retrain", "--now", "--dry-run").code == 2
    assert "there is no training run 9" in classifyd("runs", "9").err


def test_the_daemon_hears_that_its_run_is_not_due(shop, classifyd, monkeypatch):
    """It has read another configuration; told that all is well, it would start at once again."""
    monkeypatch.setattr("daemon.training_process.end_on_request", lambda parent: None)
    ran = classifyd("retrain", "--parent", 1)
    assert ran.code == 75
    assert "SIGHUP" in ran.err


@pytest.mark.slow
def test_all_labels_of_an_image_are_learned_where_it_may_have_several(shop, classifyd, tmp_path):
    config = CONFIG.replace("image_size: 48", "image_size: 48, head: multilabel")
    wiring, engine = open_shop(tmp_path, config)
    folder = draw_classes(tmp_path / "in")
    assert classifyd("labels", "import", folder, "--yes").code == 0
    bright = tmp_path / "bright.csv"
    paths = [path for name in ("green", "red") for path in (folder / name).iterdir()]
    bright.write_text("path,label\n" + "".join(f"{path},colourful\n" for path in paths))
    assert classifyd("labels", "import", bright, "--yes").code == 0
    result = retrain(wiring, engine, default_plan(wiring, "asked for"), quiet)
    assert set(result.version.classes) == {"blue", "colourful", "green", "red"}
    run = ask(engine, find_run, result.run_id)
    assert run.data["classes"]["colourful"]["train"] > run.data["classes"]["red"]["train"]
    (sure,) = _confidences(wiring, result.version, [folder / "green" / "000.png"])
    classes = dict(zip(result.version.classes, sure, strict=True))
    assert min(classes["colourful"], classes["green"]) > max(classes["blue"], classes["red"])
    engine.dispose()


def _confidences(wiring, version, paths):
    import keras
    from PIL import Image

    folder = wiring.loaded.settings.state_dir / "models" / version.bundle
    model = keras.saving.load_model(folder / "model.keras")
    pixels = [np.asarray(Image.open(path).resize((48, 48)), np.uint8) for path in paths]
    return np.asarray(model(np.stack(pixels)))[:, :-1]
