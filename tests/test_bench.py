"""The benchmark runs from end to end, on as little as it takes to write every table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = (
    "--models compact --images 8 --pairs 1 --memory-images 300 --repeats 1 --rows 3000 --seconds 1"
)
SECTIONS = ("speed", "latency", "memory", "commands", "queries")


@pytest.mark.slow
def test_every_section_is_measured_and_written_down(tmp_path):
    command = [sys.executable, "-m", "bench", *SECTIONS, *SMALL.split(), "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report = json.loads((tmp_path / "report.json").read_text())
    tables = {section["name"]: section["tables"] for section in report["sections"]}
    assert set(tables) == set(SECTIONS)
    assert tables["speed"][0]["rows"][-1][0] == "median"
    assert all(0 < row[2] <= row[3] <= row[4] for row in tables["latency"][0]["rows"])
    assert [row[0] for row in tables["memory"][0]["rows"]] == [0, 200, 225, 300]
    page = (tmp_path / "report.md").read_text()
    assert all(table["title"] in page for name in tables for table in tables[name])
