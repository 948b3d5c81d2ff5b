"""Plugins that raise or hang in every hook: the rest of the real daemon goes on, and says so."""

import json
import time
from pathlib import Path

import pytest
from faults.misbehaving import SAID
from faults.pictures import draw

from daemon.testing import daemon_process, stub_bundle, until

PLUGINS = ["daemon.testing.stubs", str(Path(__file__).parent / "faults" / "misbehaving.py")]

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own, not started yet."""
    with daemon_process(tmp_path) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


def both(name):
    return [{"name": name, "how": how, "marks": "marks"} for how in ("raise", "hang")]


def test_whatever_raises_or_hangs_holds_up_nothing_else_and_is_told(daemon):
    daemon.configure(
        {
            "plugins": PLUGINS,
            "sources": [{"name": "folder", "path": "inbox"}, *both("bad_source")],
            "labels": {"folder": "labels", "sources": both("bad_labels")},
            "sinks": [*both("bad_sink"), {"name": "jsonl", "path": "events.jsonl"}],
            "retrain": {"strategy": {"name": "bad_retrainer", "how": "hang", "marks": "marks"}},
            "gate": [{"name": "bad_gate", "marks": "marks"}],
        }
    )
    daemon.start()
    for number in range(8):
        draw(daemon.inbox / f"{number}.png", number, number)
    draw(daemon.folder / "labels" / "five" / "five.png", 5, 100)
    daemon.until_done(9)
    until(lambda: daemon.query("SELECT label FROM label") == [("five",)], what="the label")
    events = daemon.folder / "events.jsonl"
    until(lambda: events.exists() and len(events.read_bytes().splitlines()) == 9, what="events")
    parts = ("source", "labels", "sink")
    wanted = {f"{part}-{how}" for part in parts for how in ("raise", "hang")} | {"retrainer-hang"}
    until(lambda: wanted <= {mark.name for mark in (daemon.folder / "marks").iterdir()})
    draw(daemon.inbox / "after.png", 3, 200)
    daemon.until_done(10)
    for table, column in (("source_state", "alarm"), ("sink_state", "error")):
        assert any(SAID in said for (said,) in daemon.query(
            f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
        )), table  # fmt: skip
    until(lambda: len(events.read_bytes().splitlines()) == 10, what="the last event")
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 45
    told = [json.loads(line)["event_id"] for line in events.read_text().splitlines()]
    assert told == sorted(set(told))


def test_a_runtime_that_raises_or_eats_memory_costs_the_guilty_images_alone(daemon):
    daemon.configure({"plugins": PLUGINS, "runtime": "touchy", "batch": {"max_size": 8}})
    for number in range(16):
        draw(daemon.inbox / f"{number}.png", number % 8 + 2, number)
    draw(daemon.inbox / "raises.png", 0, 100)
    draw(daemon.inbox / "eats.png", 1, 101)
    daemon.start()
    daemon.until_done(16)
    reasons = "SELECT path, reason FROM file WHERE state IN ('retry', 'queued', 'quarantined')"
    until(lambda: len([1 for _, why in daemon.query(reasons) if why]) == 2, what="both blamed")
    blamed = {Path(path).name: why for path, why in daemon.query(reasons)}
    assert SAID in blamed["raises.png"]
    assert "allocate" in blamed["eats.png"]
    assert daemon.stop() == 0


def test_an_executor_that_cannot_start_ends_the_daemon_with_the_reason(daemon):
    executor = {"name": "bad_executor", "marks": "marks"}
    daemon.configure({"plugins": PLUGINS, "executor": executor})
    daemon.launch()
    assert daemon.wait() == 1
    said = daemon.log.read_text()
    assert "no model can be served" in said and SAID in said
    assert "Traceback" not in said


def test_an_executor_that_refuses_a_batch_ends_the_daemon_and_the_next_takes_its_files(daemon):
    executor = {"name": "half_executor", "marks": "marks"}
    daemon.configure({"plugins": PLUGINS, "executor": executor})
    daemon.start()
    draw(daemon.inbox / "0.png", 4, 0)
    assert daemon.wait() == 1
    assert SAID in daemon.log.read_text()
    daemon.configure({})
    daemon.start()
    daemon.until_done(1)


def test_an_executor_that_hangs_at_the_start_can_be_ended(daemon):
    executor = {"name": "bad_executor", "how": "hang", "marks": "marks"}
    daemon.configure({"plugins": PLUGINS, "executor": executor})
    daemon.launch()
    until((daemon.folder / "marks" / "executor-hang").exists)
    assert daemon.query("SELECT phase FROM heartbeat") != [("running",)]
    assert daemon.stop() == 0
