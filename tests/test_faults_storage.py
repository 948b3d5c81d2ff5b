"""The real daemon while its storage fails: a full disk, a locked, unwritable, replaced database.

Whatever happens, each file ends with one row in a final state and each image with one prediction.
Small disks are mounted in memory, which needs root; the tests that need one are skipped elsewhere.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from drawing import draw

from daemon.errors import BusyDatabaseError
from daemon.store.database import open_engine, writing
from daemon.store.maintenance import cut_log, log_size
from daemon.store.migrate import upgrade
from daemon.testing import DaemonProcess, stub_bundle, until
from daemon.testing.process import daemon_process

pytestmark = pytest.mark.slow

MB = 1_000_000


class SmallDisk:
    """A file system of its own that can be filled to the last byte."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        options = f"size={size},mode=1777"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            folder.rmdir()
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all room but `leave` bytes."""
        free = shutil.disk_usage(self.folder).free - leave
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            filler.write(b"\0" * max(0, free))
            while not leave:
                filler.write(b"\0")

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take the disk away, whoever uses it."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """16 MB."""
    disk = SmallDisk(tmp_path / "disk", 16 * MB)
    yield disk
    disk.unmount()


def settings(**more):
    slowly = {"runtime": {"name": "brightness", "batch_s": 0.1}, "batch": {"max_size": 8}}
    return {**slowly, "disk": {"min_free": None}, **more}


@pytest.fixture
def daemon(tmp_path):
    """A daemon on an ordinary disk, not started yet."""
    with daemon_process(tmp_path, settings()) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


@pytest.fixture
def cramped(tmp_path, small_disk):
    """A daemon whose database alone lies on the small disk."""
    with daemon_process(tmp_path) as daemon:
        daemon.database = small_disk.folder / "classifyd.db"
        daemon.configure(settings(database=str(daemon.database)))
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


def drop(daemon: DaemonProcess, count: int, prefix: str) -> None:
    for number in range(count):
        draw(daemon.inbox / f"{prefix}-{number}.png", number % 10)


def said(daemon: DaemonProcess, words: str) -> bool:
    return words in daemon.log.read_text("utf-8", "replace")


def assert_nothing_is_lost_or_doubled(daemon: DaemonProcess) -> None:
    """Every file that is there has one row, done; every image one prediction; all is sound."""
    there = {str(path) for path in daemon.inbox.rglob("*.png")}
    rows = daemon.query("SELECT path, state FROM file WHERE is_current = 1")
    assert sorted(rows) == sorted((path, "done") for path in there)
    ((images, predictions, distinct),) = daemon.query(
        "SELECT (SELECT count(*) FROM image), count(*), count(DISTINCT image_id) FROM prediction"
    )
    assert images == predictions == distinct
    ran = daemon.run("db", "check")
    assert ran.returncode == 0, ran.stdout
    assert not list(daemon.folder.rglob("*.part"))


# --- a full disk


def test_a_database_disk_that_fills_at_any_moment_costs_waiting_only(cramped, small_disk):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    cramped.start()
    for turn in range(6):
        drop(cramped, 30, f"turn-{turn}")
        time.sleep(chance.uniform(0.0, 0.6))
        small_disk.fill()
        time.sleep(chance.uniform(0.2, 1.5))
        assert cramped.process.poll() is None, f"seed {seed}"
        small_disk.free()
    cramped.until_done(180, 120.0)
    assert said(cramped, "the disk that holds the database is full; make room")
    assert said(cramped, "the database works again")
    assert cramped.stop() == 0
    assert_nothing_is_lost_or_doubled(cramped)


def test_a_kill_on_a_full_disk_loses_nothing(cramped, small_disk):
    cramped.start()
    drop(cramped, 60, "a")
    until(lambda: cramped.states().get("done"))
    small_disk.fill()
    drop(cramped, 20, "b")
    until(lambda: said(cramped, "is full; make room"))
    assert cramped.stop(signal.SIGKILL) == -9
    began = len(cramped.log.read_bytes())
    cramped.launch()
    until(lambda: b"trying again until it works" in cramped.log.read_bytes()[began:])
    assert cramped.process.poll() is None, "a start waits, too"
    small_disk.free()
    cramped.until_done(80, 120.0)
    assert_nothing_is_lost_or_doubled(cramped)


def test_what_was_committed_outlives_a_checkpoint_on_a_full_disk(small_disk):
    """The write-ahead log is there, the database cannot grow to take it in, and then a kill."""
    database = small_disk.folder / "classifyd.db"
    upgrade(str(database), small_disk.folder)
    engine = open_engine(str(database))
    insert = "INSERT INTO event (kind, happened_at, payload) VALUES ('x', '2026', ?)"

    def commit() -> None:
        with writing(engine) as connection:
            connection.exec_driver_sql(insert, (json.dumps("y" * 90_000),))

    for _ in range(30):
        commit()
    assert log_size(database) > 2 * MB > database.stat().st_size
    small_disk.fill()
    with pytest.raises(BusyDatabaseError, match="full"):
        cut_log(engine)
    with pytest.raises(BusyDatabaseError, match="full"):
        for _ in range(100):
            commit()
    copy = small_disk.folder.parent / "as-after-a-kill"
    copy.mkdir()
    for file in small_disk.folder.glob("classifyd.db*"):
        shutil.copyfile(file, copy / file.name)
    small_disk.free()
    commit()
    cut_log(engine)
    assert log_size(database) == 0
    for place, least in ((database, 31), (copy / database.name, 30)):
        with closing(sqlite3.connect(place)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("SELECT count(*) >= ? FROM event", (least,)).fetchone() == (
                1,
            )
    engine.dispose()


def test_work_stops_before_the_disk_is_full_and_goes_on_by_itself(cramped, small_disk):
    cramped.configure(
        settings(database=str(cramped.database), disk={"min_free": "5MB"}, state_dir="state")
    )
    cramped.start()
    small_disk.fill(leave=4 * MB)
    until(lambda: said(cramped, "no files are taken until there are 6 MB"))
    drop(cramped, 20, "a")
    until(lambda: cramped.states().get("queued") == 20)
    until(lambda: "no files are taken" in cramped.run("status", "--check").stdout)
    assert "less than disk.min_free" in cramped.run("doctor").stdout
    for refused in (["retrain", "--now"], ["db", "backup", str(small_disk.folder / "copy.db")]):
        ran = cramped.run(*refused)
        assert ran.returncode == 75 and "disk.min_free" in ran.stderr, refused
    assert cramped.states() == {"queued": 20}
    small_disk.free()
    cramped.until_done(20)
    assert said(cramped, "there is room on disk again")
    assert cramped.run("status", "--check").returncode == 0
    assert_nothing_is_lost_or_doubled(cramped)


def test_a_start_on_a_full_disk_ends_with_the_reason_and_leaves_no_half_bundle(
    tmp_path, small_disk
):
    with daemon_process(tmp_path) as daemon:
        daemon.configure(settings(state_dir=str(small_disk.folder / "state")))
        small_disk.fill(leave=100_000)
        daemon.launch()
        assert daemon.wait() == 75
        assert said(daemon, "make room on its disk") and not said(daemon, "Traceback")
        assert not list((small_disk.folder / "state" / "models").iterdir())


# --- a database that refuses


def test_a_database_locked_for_longer_than_the_timeout_costs_waiting_only(daemon):
    daemon.start()
    drop(daemon, 40, "a")
    until(lambda: daemon.states().get("done"))
    with closing(sqlite3.connect(daemon.database, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        drop(daemon, 20, "b")
        until(lambda: said(daemon, "is locked by another program"))
        ran = daemon.run("retry", "--all")
        assert ran.returncode == 75 and "is locked by another program" in ran.stderr
        assert daemon.process.poll() is None
        other.execute("ROLLBACK")
    daemon.until_done(60)
    assert said(daemon, "the database works again")
    assert_nothing_is_lost_or_doubled(daemon)


@pytest.fixture
def bound(daemon, monkeypatch):
    """A daemon for which rights mean something, even if root starts it."""
    if os.geteuid() == 0:
        if (setpriv := shutil.which("setpriv")) is None:
            pytest.skip("root without setpriv cannot give up its power over files")
        plain = daemon._command
        limits = "--bounding-set=-dac_override,-dac_read_search"
        monkeypatch.setattr(daemon, "_command", lambda *a: [setpriv, limits, *plain(*a)])
    return daemon


def test_a_database_made_read_only_ends_the_next_start_with_the_remedy(bound):
    """What has it open goes on writing: rights are asked when a file is opened."""
    bound.start()
    drop(bound, 10, "a")
    bound.until_done(10)
    bound.database.chmod(0o444)
    drop(bound, 10, "b")
    bound.until_done(20)
    assert bound.stop() == 0
    bound.launch()
    assert bound.wait() == 1
    assert said(bound, "check the rights of its file") and not said(bound, "Traceback")
    bound.database.chmod(0o644)
    drop(bound, 10, "c")
    bound.start()
    bound.until_done(30)
    assert_nothing_is_lost_or_doubled(bound)


@pytest.mark.parametrize("how", ["older", "none"])
def test_a_database_replaced_beneath_the_daemon_ends_it_for_a_new_start(daemon, how):
    daemon.start()
    drop(daemon, 20, "a")
    daemon.until_done(20)
    copy = daemon.folder / "copy.db"
    assert daemon.run("db", "backup", str(copy)).returncode == 0
    drop(daemon, 40, "b")
    until(lambda: daemon.states().get("done", 0) > 25)
    if how == "none":
        daemon.database.unlink()
    else:
        copy.replace(daemon.database)
    assert daemon.wait() == 75
    assert said(daemon, "while it was open; put the right one there")
    assert not said(daemon, "Traceback")
    if how == "none":
        daemon.deploy(daemon.folder / "bundles" / "stub")
    daemon.start()
    daemon.until_done(60)
    assert_nothing_is_lost_or_doubled(daemon)


# --- pruning beside it


def test_pruning_beside_a_working_daemon_disturbs_nothing(daemon):
    daemon.configure(settings(sinks=[{"name": "jsonl", "path": "events.jsonl"}]))
    old = (
        "INSERT INTO event (kind, happened_at, payload)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " SELECT 'classified', '2020-01-01T00:00:00.000Z', '{}' FROM n"
    )
    with closing(sqlite3.connect(daemon.database)) as connection, connection:
        connection.execute(old)
    stub = daemon.query("SELECT bundle FROM model_version")
    daemon.start()
    drop(daemon, 60, "a")
    until(lambda: daemon.states().get("done"))
    ran = daemon.run("prune", "--format", "json")
    removed = {row["what"]: row["removed"] for row in json.loads(ran.stdout)}
    assert removed["events"] == 20_000 and removed["bundles"] == 0
    daemon.until_done(60)
    assert daemon.stop() == 0
    assert daemon.query("SELECT count(*) FROM event WHERE kind = 'classified'") == [(60,)]
    assert len((daemon.folder / "events.jsonl").read_text().splitlines()) == 60
    assert daemon.query("SELECT bundle FROM model_version") == stub
    assert_nothing_is_lost_or_doubled(daemon)
