"""The real daemon on a real Keras model: photographs, awkward files, another model version."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from drawing import draw

from daemon.domain import FINAL_STATES
from daemon.testing import DaemonProcess, daemon_process, tiny_bundle, until

DATA = Path(__file__).parents[1].parent / "shared" / "data"
FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)

pytestmark = [
    pytest.mark.slow,
    # Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon as it comes: the bundled model, on TensorFlow."""
    with daemon_process(tmp_path_factory.mktemp("real"), {"runtime": "keras"}) as daemon:
        daemon.start()
        yield daemon


def drop(daemon: DaemonProcess, name: str) -> list[Path]:
    """Copy a folder of the shared data into the inbox."""
    if not (DATA / name).is_dir():
        pytest.skip(f"needs {DATA / name}")
    return sorted(Path(shutil.copytree(DATA / name, daemon.inbox / name)).iterdir())


def rows(daemon: DaemonProcess, folder: str, columns: str, where: str = "1") -> list[tuple]:
    statement = (
        f"SELECT {columns} FROM file LEFT JOIN image ON image.id = image_id"
        f" WHERE path LIKE ? || '/%' AND {where}"
    )
    return daemon.query(statement, str(daemon.inbox / folder))


def test_photographs_are_classified_by_the_bundled_model(daemon):
    files = drop(daemon, "photos")
    until(lambda: len(rows(daemon, "photos", "path", "state = 'done'")) == len(files))
    assert len(rows(daemon, "photos", "path")) == len(files)
    ((least, most, models),) = daemon.query(
        "SELECT min(confidence), max(confidence), group_concat(DISTINCT model_version)"
        " FROM latest_prediction"
    )
    assert 0 < least <= most <= 1 and models == "cifar10"
    ((kinds,),) = daemon.query("SELECT count(DISTINCT label) FROM latest_prediction")
    assert kinds > 5


def test_every_awkward_file_ends_in_one_row_under_its_own_name(daemon):
    files = drop(daemon, "awkward-images")
    until(
        lambda: len(rows(daemon, "awkward-images", "path", f"state IN ({FINAL})")) >= len(files),
        180.0,
    )
    found = rows(daemon, "awkward-images", "path_bytes, state, reason, sha256")
    assert sorted(path for path, *_ in found) == [os.fsencode(path) for path in files]
    for path, state, reason, sha256 in found:
        if state == "done":
            data = Path(os.fsdecode(path)).read_bytes()
            assert hashlib.sha256(data).hexdigest() == sha256, path
        else:
            assert reason, path
    states = {state for _, state, *_ in found}
    assert states == {"done", "ignored", "quarantined"}
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log.read_text()
    draw(daemon.inbox / "after.png", 5)
    until(lambda: daemon.query("SELECT 1 FROM latest_prediction WHERE path LIKE '%after.png'"))


def test_another_keras_model_takes_over_and_what_is_there_is_classified_again(daemon):
    draw(daemon.inbox / "before.png", 5)
    until(lambda: daemon.query("SELECT 1 FROM latest_prediction WHERE path LIKE '%before.png'"))
    daemon.deploy(tiny_bundle(daemon.folder / "bundles"))
    until(lambda: "model tiny is active" in daemon.log.read_text())
    stale = daemon.run("scan", "--stale")
    assert stale.returncode == 0, stale.stderr
    versions = "SELECT DISTINCT model_version, label LIKE 'band-%' FROM latest_prediction"
    assert daemon.query(versions) == [("tiny", 1)]
    twice = "SELECT count(*) - count(DISTINCT image_id || ' ' || model_version_id) FROM prediction"
    assert daemon.query(twice) == [(0,)]


def test_the_daemon_ends_in_time_and_leaves_no_worker(daemon):
    workers = daemon.workers()
    assert workers and daemon.stop() == 0
    assert daemon.workers() == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
