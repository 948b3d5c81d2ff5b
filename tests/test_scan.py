"""`classifyd scan`: one look at folders and files, alone or beside the running daemon."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from drawing import draw

from daemon.clock import utc_text
from daemon.scanning import GivenFiles
from daemon.testing import (
    CLASSES,
    DaemonProcess,
    RecordingIntake,
    daemon_process,
    running_daemon,
    stub_bundle,
    until,
)
from daemon.tries import WAITS_S


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own, not started."""
    with daemon_process(tmp_path) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running_daemon(tmp_path_factory.mktemp("beside")) as daemon:
        yield daemon


def scan(daemon: DaemonProcess, *arguments: str | Path) -> str:
    done = daemon.run("scan", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return done.stderr


def labels(daemon: DaemonProcess) -> dict[str, str]:
    return {
        Path(path).name: label
        for path, label in daemon.query("SELECT path, label FROM latest_prediction")
    }


# --- alone


def test_a_scan_classifies_what_is_there_and_ends(daemon):
    for band in range(5):
        draw(daemon.inbox / f"{band}.png", band)
    (daemon.inbox / "text.png").write_bytes(b"hello\n")
    assert "6 files: 5 classified, 1 not images" in scan(daemon)
    assert labels(daemon) == {f"{band}.png": f"band-{band}" for band in range(5)}
    (daemon.inbox / "0.png").unlink()
    assert "nothing new" in scan(daemon)
    assert daemon.query("SELECT path FROM file WHERE removed_at IS NOT NULL") == [
        (str(daemon.inbox / "0.png"),)
    ]


def test_a_scan_of_named_places_judges_nothing_else_missing(daemon, tmp_path):
    draw(daemon.inbox / "a.png", 1)
    scan(daemon)
    (daemon.inbox / "a.png").unlink()
    card = draw(tmp_path / "card" / "deep" / "b.png", 2)
    single = draw(tmp_path / "single.png", 3)
    assert "2 files: 2 classified" in scan(daemon, tmp_path / "card", single)
    assert labels(daemon) == {"a.png": "band-1", "b.png": "band-2", "single.png": "band-3"}
    assert daemon.query("SELECT removed_at FROM file WHERE removed_at IS NOT NULL") == []
    assert card.exists()


@pytest.mark.slow
def test_a_path_is_the_same_file_however_it_is_written(daemon, tmp_path):
    draw(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "elsewhere").mkdir()
    for given in ("photos", "elsewhere/../photos", "elsewhere/../photos/a.png"):
        scan(daemon, given)
    assert daemon.query("SELECT path FROM file") == [(str(tmp_path / "photos" / "a.png"),)]
    assert "done" in daemon.run("why", "elsewhere/../photos/a.png").stdout


@pytest.mark.slow
def test_a_source_that_is_configured_by_a_way_around_is_found_by_its_plain_path(daemon, tmp_path):
    draw(tmp_path / "photos" / "a.png", 1)
    daemon.configure({"sources": [{"name": "folder", "path": "inbox/../photos"}]})
    scan(daemon)
    assert daemon.query("SELECT path FROM file") == [(str(tmp_path / "photos" / "a.png"),)]


@pytest.mark.slow
def test_stale_images_are_classified_again(daemon):
    for band in range(4):
        draw(daemon.inbox / f"{band}.png", band)
    scan(daemon)
    others = tuple(f"other-{name}" for name in CLASSES)
    daemon.deploy(stub_bundle(daemon.folder / "bundles", "second", others))
    scan(daemon)
    assert labels(daemon)["3.png"] == "band-3"
    scan(daemon, "--stale")
    assert labels(daemon) == {f"{band}.png": f"other-band-{band}" for band in range(4)}
    assert daemon.query("SELECT count(*) FROM request WHERE outcome <> 'done'") == [(0,)]


@pytest.mark.slow
def test_a_killed_scan_is_taken_up_by_the_next(daemon):
    daemon.configure({"runtime": {"name": "brightness", "batch_s": 0.3}, "batch": {"max_size": 4}})
    for number in range(24):
        draw(daemon.inbox / f"{number}.png", number % 10)
    command = [sys.executable, "-m", "daemon", "scan", "--config", str(daemon.config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        until(lambda: daemon.states().get("done"))
        first.send_signal(signal.SIGKILL)
    scan(daemon)
    assert daemon.states() == {"done": 24}
    assert daemon.query("SELECT count(*) FROM prediction") == [(24,)]


@pytest.mark.slow
def test_an_interrupted_scan_ends_cleanly(daemon):
    daemon.configure({"runtime": {"name": "brightness", "batch_s": 0.5}, "batch": {"max_size": 2}})
    for number in range(40):
        draw(daemon.inbox / f"{number}.png", number % 10)
    command = [sys.executable, "-m", "daemon", "scan", "--config", str(daemon.config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        until(lambda: daemon.states().get("done"))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert b"Traceback" not in said
    assert "claimed" not in daemon.states() and daemon.states()["queued"] > 0


def test_a_scan_of_a_missing_folder_says_so(daemon):
    shutil.rmtree(daemon.inbox)
    daemon.configure({"sources": [{"name": "folder", "path": "inbox", "create": False}]})
    done = daemon.run("scan")
    assert done.returncode == 1 and "is gone" in done.stderr


def test_a_part_of_a_source_is_judged_by_the_rules_of_the_whole(daemon):
    options = {"title": "cats", "include": ["wanted/*.png"], "ignore": ["raw"]}
    daemon.configure({"sources": [{"name": "folder", "path": "inbox", **options}]})
    wanted = draw(daemon.inbox / "wanted" / "a.png", 1)
    unfinished = daemon.inbox / "wanted" / "b.png.part"
    others = [draw(daemon.inbox / place, 2) for place in ("other.png", "raw/c.png", ".h/d.png")]
    unfinished.write_bytes(b"half")
    scan(daemon, daemon.inbox / "wanted", *others)
    assert daemon.query("SELECT path, source, state, reason FROM file ORDER BY path") == [
        (str(others[2]), "cats", "ignored", "rule: no include pattern matches"),
        (str(others[0]), "cats", "ignored", "rule: no include pattern matches"),
        (str(others[1]), "cats", "ignored", "rule: no include pattern matches"),
        (str(wanted), "cats", "done", None),
        (str(unfinished), "cats", "ignored", "rule: temporary name *.part"),
    ]


def test_a_file_first_found_outside_belongs_to_the_source_that_sees_it_later(daemon, tmp_path):
    path = draw(tmp_path / "photos" / "a.png", 1)
    scan(daemon, path)
    assert daemon.query("SELECT source FROM file") == [("scan",)]
    daemon.configure({"sources": [{"name": "folder", "path": "photos"}]})
    scan(daemon)
    assert daemon.query("SELECT source, state FROM file") == [("photos", "done")]
    path.unlink()
    scan(daemon)
    assert daemon.query("SELECT count(*) FROM file WHERE removed_at IS NOT NULL") == [(1,)]


def put_off(daemon: DaemonProcess, path: Path) -> None:
    """Let a file wait for a try that is almost as far away as any may be."""
    later = utc_text(time.time() + 0.9 * max(WAITS_S))
    with closing(sqlite3.connect(daemon.folder / "classifyd.db", timeout=10)) as connection:
        connection.execute(
            "UPDATE file SET state = 'retry', next_try_at = ? WHERE path = ?",
            (later, str(path)),
        )
        connection.commit()


def test_a_scan_that_leaves_a_file_to_be_tried_again_says_so(daemon):
    path = draw(daemon.inbox / "a.png", 1)
    scan(daemon)
    put_off(daemon, path)
    draw(daemon.inbox / "b.png", 2)
    done = daemon.run("scan")
    assert done.returncode == 75
    assert "1 files: 1 classified; 1 left to be tried again" in done.stderr


# --- beside the running daemon


def test_beside_the_daemon_a_scan_hands_the_files_over_and_follows(shared, tmp_path):
    for band in range(5):
        draw(tmp_path / f"beside{band}.png", band)
    (tmp_path / "text.png").write_bytes(b"hello\n")
    said = scan(shared, tmp_path)
    assert "6 files handed to the running daemon, and finished" in said
    assert {f"beside{band}.png": f"band-{band}" for band in range(5)}.items() <= labels(
        shared
    ).items()
    assert shared.process.poll() is None


def test_beside_the_daemon_all_sources_can_be_looked_at(shared):
    draw(shared.inbox / "mine.png", 6)
    scan(shared)
    assert labels(shared)["mine.png"] == "band-6"


def test_beside_the_daemon_a_file_to_be_tried_again_is_not_waited_for(shared, tmp_path):
    path = draw(tmp_path / "later.png", 3)
    scan(shared, path)
    put_off(shared, path)
    done = shared.run("scan", str(tmp_path))
    assert done.returncode == 75
    assert "1 file handed to the running daemon; 1 left to be tried again" in done.stderr
    again = scan(shared, "--stale")
    assert "0 of 0 files classified again by the running daemon" in again


@pytest.mark.slow
def test_a_scan_beside_a_daemon_that_ends_does_not_wait_for_ever(daemon, tmp_path):
    daemon.configure({"runtime": {"name": "brightness", "batch_s": 30}})
    daemon.start()
    path = draw(tmp_path / "photos" / "a.png", 1)
    command = [sys.executable, "-m", "daemon", "scan", "--config", str(daemon.config), str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as waiting:
        until(lambda: daemon.states().get("claimed"))
        daemon.send(signal.SIGKILL)
        _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 75
    assert b"the daemon has ended" in said


def test_files_given_by_name_are_reported_as_they_are(tmp_path):
    path = draw(tmp_path / "a.png", 1)
    intake = RecordingIntake()
    GivenFiles([path]).scan(intake)
    ((name, sighting),) = intake.there.items()
    assert name == os.fsencode(path) and sighting.stat.size == path.stat().st_size
    assert not sighting.whole
