"""`classifyd status`: how fast files come through, and looking on with `--watch`."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.cli.times import utc_text
from daemon.errors import BusyError
from daemon.lock import training_lock
from daemon.store import queries
from daemon.store.database import reading

ROOT = Path(__file__).parents[1]


def ago(seconds: float) -> str:
    return utc_text(datetime.now(UTC) - timedelta(seconds=seconds))


def classified(filled, number: int, took: float, end: float = 10.0) -> None:
    """Let a file have taken so long until it was recorded, `end` seconds ago."""
    filled.seen(f"/in/{number}.jpg", "cat")
    then = ago(end)
    filled.execute(
        "UPDATE file SET found_at = ?, classified_at = ?, state_at = ? WHERE path = ?",
        (ago(end + took), then, then, f"/in/{number}.jpg"),
    )


def test_latency_is_that_of_the_last_minute(classifyd, filled):
    for number in range(1, 21):
        classified(filled, number, number / 10)
    classified(filled, 99, 500.0, end=90.0)
    latency = json.loads(classifyd("status", "--format", "json").out)["latency"]
    assert latency["files"] == 20
    assert latency["p50_s"] == pytest.approx(1.1, abs=0.06)
    assert latency["p95_s"] == pytest.approx(1.9, abs=0.06)
    assert "half within 1.1 s, 95 % within 1.9 s of being found (20 files)" in (
        classifyd("status").out
    )


def test_without_recent_files_there_is_no_latency(classifyd, filled):
    classified(filled, 1, 1.0, end=90.0)
    assert json.loads(classifyd("status", "--format", "json").out)["latency"] is None
    assert "latency" not in classifyd("status").out


def test_a_file_classified_again_says_nothing_of_the_latency(classifyd, filled):
    classified(filled, 1, 1.0)
    filled.execute("UPDATE file SET state_at = ?", (ago(86_400),))
    assert json.loads(classifyd("status", "--format", "json").out)["latency"] is None


def test_latency_is_found_by_an_index(engine):
    with reading(engine) as connection:
        seen = []
        connection.connection.set_trace_callback(seen.append)
        queries.latencies(connection, ago(60))
        connection.connection.set_trace_callback(None)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1]}").all()
    assert "ix_file_classified_at" in str(plan) and "TEMP B-TREE" not in str(plan)


def test_the_last_error_is_told_unless_it_is_among_the_failures(classifyd, filled):
    filled.model()
    filled.beat(last_error="the worker was killed by signal 9")
    assert "error     the worker was killed by signal 9" in classifyd("status").out
    filled.file("/in/a.jpg", "quarantined", reason="truncated")
    filled.execute("DELETE FROM heartbeat")
    filled.beat(last_error="/in/a.jpg: truncated")
    assert "error  " not in classifyd("status").out


def test_a_run_whose_process_was_killed_is_interrupted_at_once(classifyd, filled, tmp_path):
    row = {"strategy": "probe", "state": "running", "plan": {}, "data": {}, "metrics": {}}
    progress = {"stage": "fit", "done": 1, "total": 9}
    filled.insert("training_run", **row, started_at=ago(60), progress=progress)
    state = tmp_path / "state"
    state.mkdir()

    def told() -> tuple[str, str]:
        (listed,) = json.loads(classifyd("runs", "--format", "json").out)
        training = json.loads(classifyd("status", "--format", "json").out)["training"]["last"]
        assert (training["state"], training["outcome"]) == (listed["state"], listed["outcome"])
        return listed["state"], listed["outcome"]

    with training_lock(state):
        assert told()[0] == "running"
    killed = "its process ended without a word: killed, or out of memory"
    assert told() == ("interrupted", killed)
    assert killed in classifyd("runs", "1").out


def test_the_check_fails_until_images_are_classified(classifyd, filled):
    filled.model()
    filled.beat(phase="starting")
    ran = classifyd("status", "--check")
    assert (ran.code, ran.out) == (1, "the daemon is starting: no image is classified yet\n")


def test_the_check_tells_all_that_is_wrong_on_one_line(classifyd, filled):
    filled.model()
    filled.beat(model_error="bundle x: altered")
    filled.file("/in/a.jpg", "claimed", state_at=ago(1200))
    ran = classifyd("status", "--check")
    line = "a file has been in work for 20 minutes; look at the daemon's log; model: bundle x: alt"
    assert ran.code == 1 and ran.out.startswith(line) and ran.out.count("\n") == 1


def test_looking_at_a_lock_does_not_take_it(tmp_path):
    lock = training_lock(tmp_path)
    assert lock.holder() is None
    with lock:
        assert lock.holder() == os.getpid()
        with pytest.raises(BusyError, match=f"process {os.getpid()}"), training_lock(tmp_path):
            pass
    assert lock.holder() is None


def watching(folder: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", "status", "--watch"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


def test_in_a_pipe_the_watch_repeats_itself_until_ctrl_c(filled, tmp_path):
    process = watching(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        seen = 0
        while seen < 2:
            seen += "the daemon has never run" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "") and "\x1b" not in rest
    finally:
        process.kill()
        process.communicate()


def test_on_a_terminal_the_watch_redraws(filled, tmp_path):
    ours, theirs = os.openpty()
    process = watching(tmp_path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"the daemon has never run") < 2:
            seen += os.read(ours, 4096)
        assert b"\x1b[1A" in seen
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("option", [("--check",), ("--format", "json")])
def test_watching_is_for_people(classifyd, filled, option):
    ran = classifyd("status", "--watch", *option)
    assert ran.code == 2 and "leave out --check and --format json" in ran.err
