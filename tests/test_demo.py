"""`classifyd demo`: the whole story as a user meets it, and what it leaves behind: nothing."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from daemon.demo.creatures import KINDS
from daemon.demo.drawing import draw, write
from daemon.demo.telling import Picture, Teller
from daemon.testing.process import until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def demo(tmp_path):
    """Start the demonstration in a process of its own, whose temporary files go to a test's."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        environment = os.environ | {
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "CLASSIFYD_DATABASE": str(tmp_path / "mine.db"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def processes_in(folder: Path) -> list[str]:
    """Name the processes that were started for a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_the_whole_story(demo, tmp_path):
    process = demo()
    told, _ = process.communicate(timeout=250)
    assert process.returncode == 0, told
    assert "creatures-1 is active" in told and "better." in told
    named = told.partition(" named rightly")[0].split()[-1]
    assert int(named) >= 5
    for kind in KINDS:
        assert f"{kind}-100.jpg" in told
    assert "scenery.jpg" in told and "\x1b" not in told
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_stopped_nothing_stays(demo, tmp_path, number):
    process = demo()
    for line in process.stdout:
        if "cp drawings" in line:
            break
    process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Nothing is left behind" in told
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_the_folder_is_kept_on_demand(demo, tmp_path):
    process = demo("--keep")
    (config,) = until(lambda: list(tmp_path.glob("classifyd-demo-*/config.yaml")))
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and f"\n$ cd {config.parent}\n" in told
    assert processes_in(tmp_path) == []


def test_a_number_draws_the_same_creature_and_another_number_another(tmp_path):
    for kind in KINDS:
        assert draw(kind, 1).tobytes() == draw(kind, 1).tobytes()
        assert draw(kind, 1).tobytes() != draw(kind, 2).tobytes()
    (path,) = write(tmp_path / "owl", "owl", [7])
    with Image.open(path) as image:
        assert path.name == "owl-07.jpg" and image.format == "JPEG"


def told_on(path: Path, **terminal) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=80, **terminal)
    Teller(console).pictures([Picture(path, ("owl.png", "owl 0.97"))] * 2)
    return stream.getvalue()


def test_thumbnails_only_where_the_terminal_has_all_colours(tmp_path):
    Image.new("RGB", (64, 64), (255, 0, 16)).save(tmp_path / "owl.png")
    colours = told_on(tmp_path / "owl.png", force_terminal=True, color_system="truecolor")
    assert "38;2;255;0;16;48;2;255;0;16m▀" in colours and "owl 0.97" in colours
    line = "  owl.png  owl 0.97\n"
    assert told_on(tmp_path / "owl.png") == 2 * line
    few = told_on(tmp_path / "owl.png", force_terminal=True, color_system="256")
    plain = told_on(
        tmp_path / "owl.png", force_terminal=True, color_system="truecolor", no_color=True
    )
    assert "▀" not in few + plain
