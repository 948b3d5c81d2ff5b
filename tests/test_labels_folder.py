"""The labels folder of a real daemon: dropped, moved, removed, mounted away, killed."""

import shutil
import signal

import pytest
from drawing import draw

from daemon.testing import running_daemon, until


@pytest.fixture
def daemon(tmp_path):
    with running_daemon(tmp_path) as running:
        yield running


def labels(daemon):
    """The current labels as class → how many."""
    query = "SELECT label, count(*) FROM label WHERE retracted_at IS NULL GROUP BY label"
    return dict(daemon.query(query))


def until_labels(daemon, **expected):
    until(lambda: labels(daemon) == expected, what=f"labels {expected}; see {daemon.log}")


def fill(folder, count, band):
    for number in range(count):
        draw(folder / f"{number}.png", band)


@pytest.mark.slow
def test_the_way_of_a_labelled_image(daemon):
    """One daemon for the whole story: a start costs seconds."""
    root = daemon.folder / "labels"
    until(root.is_dir, what="the folder is made at start")
    fill(root / "cat", 12, 2)
    fill(root / "dog" / "2024", 12, 7)
    draw(root / "beside.png", 5)
    until_labels(daemon, cat=12, dog=12)
    daemon.until_done(25)
    rows = daemon.query(
        "SELECT DISTINCT file.source, prediction.id IS NOT NULL FROM file"
        " LEFT JOIN prediction ON prediction.id = prediction_id"
    )
    assert rows == [("labels", 1)]

    # Known by content: an image of the inbox keeps its prediction when it is labelled.
    draw(daemon.inbox / "new.png", 4)
    daemon.until_done(26)
    (root / "rare").mkdir()
    (daemon.inbox / "new.png").rename(root / "rare" / "new.png")
    until_labels(daemon, cat=12, dog=12, rare=1)
    assert daemon.query("SELECT count(*) FROM prediction") == [(26,)]

    (root / "cat" / "0.png").rename(root / "dog" / "was-cat.png")
    until_labels(daemon, cat=11, dog=13, rare=1)
    assert daemon.run("label", str(root / "cat" / "1.png"), "dog").returncode == 0
    (root / "cat" / "2.png").unlink()
    until_labels(daemon, cat=9, dog=14, rare=1)

    # A folder that is away takes nothing back; one whose files are gone waits for a word.
    root.rename(daemon.folder / "away")
    query = "SELECT alarm FROM source_state WHERE title = 'labels'"
    until(lambda: daemon.query(query)[0][0], what="the alarm")
    (daemon.folder / "away").rename(root)
    until(lambda: not daemon.query(query)[0][0], what="the end of the alarm")
    shutil.rmtree(root / "dog")
    until(lambda: "confirm-removals" in daemon.run("status").stdout, what="status tells")
    assert labels(daemon) == {"cat": 9, "dog": 14, "rare": 1}
    assert daemon.run("labels", "confirm-removals").returncode == 0
    until_labels(daemon, cat=9, dog=1, rare=1)  # the dog is a file of the cat folder
    assert daemon.run("db", "check").returncode == 0


@pytest.mark.slow
def test_labels_survive_a_kill_and_none_is_given_twice(tmp_path):
    with running_daemon(tmp_path) as daemon:
        root = tmp_path / "labels"
        for kill in range(2):
            fill(root / f"class-{kill}", 20, 3 * kill)
            daemon.until_done(20 * kill + 1)
            daemon.stop(signal.SIGKILL)
            daemon.start()
        daemon.until_done(40)
        until_labels(daemon, **{f"class-{kill}": 20 for kill in range(2)})
        assert daemon.query("SELECT count(*), count(DISTINCT image_id) FROM label") == [(40, 40)]


@pytest.mark.slow
def test_a_scan_labels_too_and_null_switches_the_folder_off(tmp_path):
    from daemon.testing import DaemonProcess, stub_bundle

    daemon = DaemonProcess(tmp_path)
    daemon.deploy(stub_bundle(tmp_path / "bundles"))
    fill(tmp_path / "labels" / "cat", 3, 5)
    assert daemon.run("scan", "labels/cat/0.png").returncode == 0
    assert labels(daemon) == {"cat": 1}
    assert daemon.run("scan", "labels/cat").returncode == 0
    assert labels(daemon) == {"cat": 3}
    assert daemon.query("SELECT DISTINCT source FROM file") == [("labels",)]
    fill(tmp_path / "labels" / "bird", 3, 8)
    daemon.configure({"labels": {"folder": None}})
    assert daemon.run("scan").returncode == 0
    assert labels(daemon) == {"cat": 3}
    daemon.configure({"labels": {"folder": "inbox/labels"}})
    ran = daemon.run("scan")
    assert ran.returncode == 2 and "lies inside the source inbox" in ran.stderr
