"""The real daemon as a process: what people do to its folders, to it, and to its models.

It runs on a runtime without TensorFlow (`brightness`), so that a start takes about a second.
"""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from drawing import draw

from daemon.testing import (
    CLASSES,
    DaemonProcess,
    daemon_process,
    running_daemon,
    stub_bundle,
    until,
)

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SLOWLY = {"runtime": {"name": "brightness", "batch_s": 0.2}, "batch": {"max_size": 8}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for all checks that only drop files; each uses a folder of its own."""
    with running_daemon(tmp_path_factory.mktemp("shared")) as daemon:
        yield daemon


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own, not started yet."""
    with daemon_process(tmp_path) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


def versions(daemon: DaemonProcess, path: Path) -> list[tuple]:
    """All that was ever made of a path: state, label, whether current."""
    statement = "SELECT state, label, is_current FROM file WHERE path = ? ORDER BY id"
    return daemon.query(statement, str(path))


def labels(daemon: DaemonProcess, folder: Path) -> dict[str, str]:
    statement = "SELECT path, label FROM latest_prediction WHERE path LIKE ? || '/%'"
    return {Path(path).name: label for path, label in daemon.query(statement, str(folder))}


def until_done(daemon: DaemonProcess, folder: Path, count: int) -> None:
    until(lambda: len(labels(daemon, folder)) >= count, what=f"{count} done; see {daemon.log}")


def assert_each_under_its_own_name(daemon: DaemonProcess) -> None:
    """What is recorded of a path is the hash of the file that lies there."""
    statement = (
        "SELECT path_bytes, sha256 FROM file JOIN image ON image.id = image_id"
        " WHERE is_current = 1 AND removed_at IS NULL"
    )
    for path, sha256 in daemon.query(statement):
        assert hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() == sha256


# --- files


def test_dropped_images_become_rows_and_views(shared):
    folder = shared.inbox / "dropped"
    for band, suffix in enumerate(("png", "jpg", "webp", "bmp", "gif", "tiff")):
        draw(folder / f"{band}.{suffix}", band)
    until_done(shared, folder, 6)
    assert labels(shared, folder) == {
        f"{band}.{suffix}": f"band-{band}"
        for band, suffix in enumerate(("png", "jpg", "webp", "bmp", "gif", "tiff"))
    }
    ((confidence, unknown, version),) = shared.query(
        "SELECT DISTINCT confidence, is_unknown, model_version FROM latest_prediction"
        " WHERE path LIKE ? || '/%'",
        str(folder),
    )
    assert (round(confidence, 3), unknown, version) == (0.9, 0, "stub")


def test_what_is_no_image_ends_with_its_reason(shared):
    folder = shared.inbox / "bad"
    draw(shared.folder / "whole.png", 5, size=200)
    cut = (shared.folder / "whole.png").read_bytes()[:300]
    for name, data in {"cut.png": cut, "text.png": b"hello\n", "x.part": b"half"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    def ends() -> dict[str, tuple]:
        rows = shared.query(
            "SELECT path, state, reason FROM file WHERE path LIKE ? || '/%'", str(folder)
        )
        return {
            Path(path).name: (state, reason)
            for path, state, reason in rows
            if state in ("ignored", "quarantined")
        }

    until(lambda: len(ends()) == 3)
    assert ends()["cut.png"][0] == "quarantined" and "truncated" in ends()["cut.png"][1]
    assert ends()["text.png"][0] == "ignored" and "text" in ends()["text.png"][1]
    assert ends()["x.part"][0] == "ignored" and "rule" in ends()["x.part"][1]
    view = shared.query("SELECT state FROM failure WHERE path LIKE ? || '/%'", str(folder))
    assert view == [("quarantined",)]


def test_a_file_written_in_pieces_is_classified_once_when_it_is_whole(shared):
    whole = draw(shared.folder / "pieces.png", 8, size=100).read_bytes()
    path = shared.inbox / "pieces" / "slow.png"
    path.parent.mkdir()
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(whole), len(whole) // 20 + 1):
            file.write(whole[start : start + len(whole) // 20 + 1])
            time.sleep(0.05)
    until_done(shared, path.parent, 1)
    assert versions(shared, path) == [("done", "band-8", 1)]


def test_a_file_renamed_into_place_is_classified_once(shared):
    part = shared.inbox / "renamed" / "image.png.part"
    path = draw(shared.folder / "renamed.png", 2)
    part.parent.mkdir()
    shutil.copyfile(path, part)
    until(lambda: versions(shared, part))
    part.rename(part.with_suffix(""))
    until_done(shared, part.parent, 1)
    assert versions(shared, part.with_suffix("")) == [("done", "band-2", 1)]


def test_a_folder_moved_in_is_classified_whole(shared):
    away = shared.folder / "away"
    for number in range(50):
        draw(away / f"{number % 5}" / f"{number}.png", number % 10)
    away.rename(shared.inbox / "moved")
    until_done(shared, shared.inbox / "moved", 50)
    assert labels(shared, shared.inbox / "moved") == {
        f"{number}.png": f"band-{number % 10}" for number in range(50)
    }


def test_each_version_of_an_overwritten_file_is_classified_once(shared):
    path = shared.inbox / "overwritten" / "image.png"
    for version in (1, 6, 9):
        draw(path, version, number=version)
        until(lambda: ("done", f"band-{version}", 1) in versions(shared, path))  # noqa: B023
    assert versions(shared, path) == [
        ("done", "band-1", 0),
        ("done", "band-6", 0),
        ("done", "band-9", 1),
    ]


def test_the_same_bytes_elsewhere_reuse_the_prediction(shared):
    folder = shared.inbox / "same"
    draw(folder / "first.png", 4)
    until_done(shared, folder, 1)
    for number in range(5):
        shutil.copyfile(folder / "first.png", folder / f"copy{number}.png")
    until_done(shared, folder, 6)
    statement = (
        "SELECT count(DISTINCT file.image_id), count(DISTINCT prediction.id) FROM file"
        " JOIN prediction ON prediction.image_id = file.image_id WHERE path LIKE ? || '/%'"
    )
    assert shared.query(statement, str(folder)) == [(1, 1)]


def test_a_deleted_file_keeps_its_row_and_one_that_returns_is_not_read_again(shared):
    path = draw(shared.inbox / "deleted" / "image.png", 3)
    until_done(shared, path.parent, 1)
    path.rename(shared.folder / "kept.png")
    removed = "SELECT removed_at IS NOT NULL, state FROM file WHERE path = ?"
    until(lambda: shared.query(removed, str(path)) == [(1, "done")])
    (shared.folder / "kept.png").rename(path)
    until(lambda: shared.query(removed, str(path)) == [(0, "done")])


def test_names_that_are_no_utf8_are_classified(shared):
    folder = shared.inbox / "names"
    draw(folder / "a.png", 7)
    (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9 \n.png"))
    until_done(shared, folder, 1)
    assert labels(shared, folder)["caf\\xe9 \n.png"] == "band-7"


def test_nothing_was_recorded_under_another_name(shared):
    assert shared.query("SELECT count(*) FROM image")[0][0] > 0
    assert_each_under_its_own_name(shared)


# --- the process


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stop_records_the_batch_in_hand_and_leaves_nothing_behind(daemon, number):
    daemon.configure({"runtime": {"name": "brightness", "batch_s": 1.0}, "batch": {"max_size": 5}})
    daemon.start()
    workers = daemon.workers()
    for count in range(30):
        draw(daemon.inbox / f"{count}.png", count % 10)
    until(lambda: daemon.states().get("claimed"))
    began = time.monotonic()
    assert daemon.stop(number) == 0
    assert time.monotonic() - began < 15
    states = daemon.states()
    assert "claimed" not in states and states["done"] > 0
    assert daemon.query("SELECT phase FROM heartbeat") == [("stopped",)]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert "Traceback" not in daemon.log.read_text()


def test_a_second_daemon_on_the_same_database_is_asked_to_try_again_later(shared):
    second = shared.run("run")
    assert second.returncode == 75
    assert f"process {shared.process.pid}" in second.stderr
    assert shared.process.poll() is None


@pytest.mark.slow
def test_killed_in_the_middle_every_image_has_one_prediction_after_a_restart(daemon):
    count = 160
    daemon.configure(SLOWLY)
    daemon.start()
    for number in range(count):
        draw(daemon.inbox / f"{number}.png", number % 10)
    for share in (0.2, 0.5):
        until(lambda: daemon.states().get("done", 0) >= share * count)  # noqa: B023
        workers = daemon.workers()
        daemon.send(signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
        until(lambda: not any(map(_is_alive, workers)), 10.0, "the workers' end")  # noqa: B023
        assert daemon.states()["done"] < count
        daemon.start()
    daemon.until_done(count)
    assert daemon.states() == {"done": count}
    assert labels(daemon, daemon.inbox) == {
        f"{number}.png": f"band-{number % 10}" for number in range(count)
    }
    assert daemon.query("SELECT count(*), count(DISTINCT image_id) FROM prediction") == [
        (count, count)
    ]
    assert_each_under_its_own_name(daemon)
    assert daemon.stop() == 0


def _is_alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(daemon):
    daemon.configure(SLOWLY)
    daemon.start()
    for number in range(40):
        draw(daemon.inbox / f"{number}.png", number % 10)
    until(lambda: daemon.states().get("done"))
    for pid in daemon.workers():
        os.kill(pid, signal.SIGKILL)
    daemon.until_done(40)
    assert "killed by signal 9" in daemon.log.read_text()


@pytest.mark.slow
def test_a_database_that_fails_ends_the_daemon_instead_of_leaving_it_hanging(daemon):
    daemon.configure(SLOWLY)
    daemon.start()
    workers = daemon.workers()
    for number in range(20):
        draw(daemon.inbox / f"{number}.png", 1)
    until(lambda: daemon.states().get("claimed"))
    daemon.query("ALTER TABLE prediction RENAME TO broken")
    assert daemon.wait(30.0) == 1
    assert "no such table" in daemon.log.read_text()
    assert not any(map(_is_alive, workers))


@pytest.mark.slow
def test_a_database_that_another_program_locks_for_long_costs_waiting_only(daemon):
    daemon.start()
    draw(daemon.inbox / "first.png", 1)
    daemon.until_done(1)
    with closing(sqlite3.connect(daemon.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        draw(daemon.inbox / "second.png", 2)
        until(lambda: "is locked by another program" in daemon.log.read_text(), 60.0)
        assert daemon.process.poll() is None
        other.execute("ROLLBACK")
    daemon.until_done(2)
    assert "the database works again" in daemon.log.read_text()


@pytest.mark.slow
def test_what_waited_while_the_daemon_was_down_is_found_at_start(daemon):
    draw(daemon.inbox / "before.png", 1)
    old = draw(daemon.inbox / "old.png", 2)
    os.utime(old, (1, 1))
    daemon.start()
    daemon.until_done(2)
    assert daemon.stop() == 0
    old.unlink()
    draw(daemon.inbox / "before.png", 5, number=5)
    daemon.start()
    until(lambda: labels(daemon, daemon.inbox).get("before.png") == "band-5")
    removed = "SELECT removed_at IS NOT NULL FROM file WHERE path = ?"
    until(lambda: daemon.query(removed, str(old)) == [(1,)])


# --- configuration and sources


def test_a_reload_changes_sources_and_batches_and_says_what_needs_a_restart(daemon):
    daemon.start()
    (worker,) = daemon.workers()
    daemon.configure(
        {
            "sources": [{"name": "folder", "path": "inbox"}, {"name": "folder", "path": "second"}],
            "batch": {"max_size": 3},
            "sinks": [{"name": "jsonl", "path": "events.jsonl"}],
        }
    )
    daemon.send(signal.SIGHUP)
    until(lambda: "restart classifyd for changes of: sinks" in daemon.log.read_text())
    until((daemon.folder / "second").is_dir)
    for number in range(9):
        draw(daemon.folder / "second" / f"{number}.png", number)
    daemon.until_done(9)
    assert labels(daemon, daemon.folder / "second")["8.png"] == "band-8"
    until(lambda: daemon.workers() and worker not in daemon.workers())


@pytest.mark.slow
def test_a_wrong_configuration_is_told_and_changes_nothing(daemon):
    daemon.start()
    daemon.configure({"batch": {"max_sice": 3}})
    daemon.send(signal.SIGHUP)
    until(lambda: "not reloaded" in daemon.log.read_text())
    assert "max_sice" in daemon.log.read_text()
    draw(daemon.inbox / "a.png", 1)
    daemon.until_done(1)


def test_a_vanished_root_raises_an_alarm_loses_no_row_and_recovers(daemon):
    daemon.start()
    draw(daemon.inbox / "a.png", 1)
    daemon.until_done(1)
    for folder in ("inbox", "labels"):
        assert daemon.log.read_text().count(f"{daemon.folder / folder}: watched by inotify") == 1
    assert daemon.log.read_text().count("inotify") == 2
    daemon.inbox.rename(daemon.folder / "unplugged")
    alarm = "SELECT alarm FROM source_state WHERE title = 'inbox'"
    until(lambda: daemon.query(alarm) != [(None,)])
    assert "is gone" in daemon.query(alarm)[0][0]
    assert daemon.query("SELECT removed_at FROM file") == [(None,)]
    (daemon.folder / "unplugged").rename(daemon.inbox)
    until(lambda: daemon.query(alarm) == [(None,)])
    draw(daemon.inbox / "b.png", 2)
    daemon.until_done(2)


@pytest.mark.slow
def test_each_event_reaches_the_sink_once_over_a_kill_and_a_restart(daemon):
    events = daemon.folder / "events.jsonl"
    daemon.configure({**SLOWLY, "sinks": [{"name": "jsonl", "path": "events.jsonl"}]})
    daemon.start()
    for number in range(48):
        draw(daemon.inbox / f"{number}.png", number % 10)
    until(lambda: events.exists() and len(events.read_bytes().splitlines()) >= 8)
    daemon.send(signal.SIGKILL)
    daemon.wait()
    daemon.start()
    daemon.until_done(48)
    assert daemon.stop() == 0
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert len(told) == 48
    assert sorted(Path(event["path"]).name for event in told) == sorted(
        f"{number}.png" for number in range(48)
    )
    assert [event["event_id"] for event in told] == sorted({e["event_id"] for e in told})
    assert daemon.query("SELECT count(*) FROM delivery WHERE delivered_at IS NULL") == [(0,)]


# --- models


@pytest.mark.slow
def test_another_model_version_is_activated_in_the_running_daemon(daemon):
    daemon.start()
    for number in range(12):
        draw(daemon.inbox / f"{number}.png", number % 10)
    daemon.until_done(12)
    others = tuple(f"other-{name}" for name in CLASSES)
    daemon.deploy(stub_bundle(daemon.folder / "bundles", "second", others))
    until(lambda: "model second is active" in daemon.log.read_text())
    draw(daemon.inbox / "new.png", 4)
    until(lambda: labels(daemon, daemon.inbox).get("new.png") == "other-band-4")
    assert labels(daemon, daemon.inbox)["3.png"] == "band-3"
    stale = daemon.run("scan", "--stale")
    assert stale.returncode == 0, stale.stderr
    assert labels(daemon, daemon.inbox)["3.png"] == "other-band-3"
    assert daemon.states() == {"done": 13}
    assert daemon.query("SELECT count(*) FROM prediction") == [(25,)]
    until(lambda: len(daemon.workers()) == 1, what="the old worker's end")


@pytest.mark.slow
def test_a_broken_model_leaves_the_old_one_serving_and_says_so(daemon):
    daemon.deploy(stub_bundle(daemon.folder / "bundles", "second"))
    daemon.activate("stub")
    for model in daemon.folder.glob("state/models/second-*/model.keras"):
        model.write_bytes(b"damaged")
    daemon.start()
    daemon.activate("second")
    until(lambda: "model second cannot be loaded" in daemon.log.read_text())
    assert "model.keras was altered" in daemon.log.read_text()
    assert "stub goes on" in daemon.log.read_text()
    draw(daemon.inbox / "a.png", 1)
    daemon.until_done(1)
    assert daemon.query("SELECT model_version FROM latest_prediction") == [("stub",)]
    assert daemon.run("scan", "--stale").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda bundle: (bundle / "model.keras").write_bytes(b"x"), "model.keras was altered"),
        (shutil.rmtree, "there is no manifest.json"),
    ],
)
def test_a_daemon_without_any_loadable_model_ends_with_the_reason(daemon, damage, says):
    (bundle,) = daemon.folder.glob("state/models/stub-*")
    damage(bundle)
    daemon.launch()
    assert daemon.wait(30.0) == 1
    said = daemon.log.read_text().splitlines()[-1]
    assert "model version stub: bundle" in said and says in said
    assert "models rollback" in said and f"put {bundle} back" in said
