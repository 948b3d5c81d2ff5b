"""The benchmark runs from end to end, and the daemon wastes little of what the machine can do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = (
    "latency growth memory commands queries --models compact --images 12 --repeats 1"
    " --seconds 1 --rows 1000 3000 --files 200 --classes 2 50 --memory-images 300"
)


def measured(out, *arguments):
    command = [sys.executable, "-m", "bench", *arguments, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report = json.loads((out / "report.json").read_text())
    page = (out / "report.md").read_text()
    tables = {section["name"]: section["tables"] for section in report["sections"]}
    assert all(table["title"] in page for name in tables for table in tables[name])
    return tables


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_section_is_measured_and_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("CLASSIFYD_RUNTIME", "openvino")  # each daemon compiles for one alone
    tables = measured(tmp_path, *SMALL.split())
    assert set(tables) == {"latency", "growth", "memory", "commands", "queries"}
    assert all(0 < row[2] <= row[3] <= row[4] for row in tables["latency"][0]["rows"])
    assert [row[0] for row in tables["memory"][0]["rows"]] == [0, 200, 225, 300]
    predictions, classes, files = tables["growth"]
    assert [row[0] for row in predictions["rows"]] == [1000, 3000]
    assert [row[0] for row in classes["rows"]] == [2, 50]
    assert [row[0] for row in files["rows"]] == [200]


@pytest.mark.slow
def test_starts_are_measured_by_runtime(tmp_path):
    what = "starts --runtimes openvino --images 12 --repeats 1"
    (table,) = measured(tmp_path, *what.split())["starts"]
    assert [row[0] for row in table["rows"]] == ["keras", "openvino"]


@pytest.mark.slow
def test_the_daemon_comes_near_to_a_bare_script_and_far_beyond_a_plain_loop(tmp_path):
    """By processor time, which tells the same on a machine that has other things to do; and with
    a wide margin, since this is to notice what got slow, not to measure."""
    what = "speed --models compact --runtimes openvino --rivals bare plain"
    *_, costs = measured(tmp_path, *what.split(), "--repeats", "2", "--turn-seconds", "1")["speed"]
    of = dict(zip(costs["columns"], costs["rows"][0], strict=True))
    daemon = of["main process"] + of["workers"]
    assert of["(f) bare script"] > 0.5 * daemon
    assert of["(d) plain loop"] > 5 * daemon
