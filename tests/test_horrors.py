"""A real daemon among everything that a stranger may drop into its folder."""

import csv
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path

import horrors
import hostile_decoder
import pytest
from drawing import draw

from daemon.testing import running_daemon, until
from daemon.text import display_path

pytestmark = pytest.mark.slow
AWKWARD = Path(__file__).parents[1].parent / "shared" / "data" / "awkward-images"
SETTINGS = {
    "runtime": "hostile",
    "plugins": [str(Path(__file__).with_name("hostile_decoder.py"))],
    "executor": {"name": "local", "workers": 2},
    "decode": {"timeout_s": 4},
}
CRASHES = {
    "segfault.png": (hostile_decoder.SEGFAULT, "SIGSEGV"),
    "abort.png": (hostile_decoder.ABORT, "SIGABRT"),
    "exit.png": (hostile_decoder.EXIT, "ended with code 3"),
}
PROGRAMS = ("gs", "gswin64c", "inkscape", "convert", "magick", "rsvg-convert", "sh-canary")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that is made as soon as one of the programs is started that open such formats."""
    canary, folder = tmp_path / "canary", tmp_path / "programs"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return canary


def resident_mb(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ends(daemon) -> dict[bytes, tuple[str, str]]:
    statement = "SELECT path_bytes, state, coalesce(reason, '') FROM file WHERE is_current = 1"
    return {path: (state, reason) for path, state, reason in daemon.query(statement)}


def memory(daemon) -> list[float]:
    return [resident_mb(pid) for pid in (daemon.process.pid, *sorted(daemon.workers()))]


def test_every_horror_ends_with_its_reason_and_the_daemon_goes_on(tmp_path, canary):
    with running_daemon(tmp_path, SETTINGS) as daemon:
        draw(daemon.inbox / "first.png", 5)
        daemon.until_done(1)
        before = memory(daemon)
        away = daemon.folder / "away"
        (away / "horrors").mkdir(parents=True)
        made = horrors.make(away / "horrors", tmp_path / "outside")
        deep = horrors.deep_file(away / "horrors", horrors.picture(400))
        for name, (width, _) in CRASHES.items():
            draw(away / "horrors" / name, 3, width)
        if AWKWARD.is_dir():
            shutil.copytree(AWKWARD, away / "awkward")
        away.rename(daemon.inbox / "in")

        def unfinished() -> list[bytes]:
            waiting = ("settling", "queued", "claimed", "retry")
            return [path for path, (state, _) in ends(daemon).items() if state in waiting]

        awkward = sum(path.is_file() for path in AWKWARD.glob("*"))
        until(lambda: len(ends(daemon)) > len(made) + awkward and not unfinished(), 240)
        found, root = ends(daemon), os.fsencode(daemon.inbox / "in" / "horrors")
        wrong = {
            horror.name: (found.get(root + b"/" + horror.name), horror.end)
            for horror in made
            if not has_ended(found.get(root + b"/" + horror.name), horror.end)
        }
        assert wrong == {}
        for name, (_, says) in CRASHES.items():
            assert has_ended(found[root + b"/" + name.encode()], ("quarantined", says))
        deep_now = deep.replace(os.fsencode(away), os.fsencode(daemon.inbox / "in"))
        assert has_ended(found[deep_now], ("ignored", "path of 4,096 bytes or more"))
        if AWKWARD.is_dir():
            folder = os.fsencode(daemon.inbox / "in" / "awkward")
            assert sum(path.startswith(folder) for path in found) == awkward
        draw(daemon.inbox / "last.png", 8)
        until(lambda: found_of(daemon, daemon.inbox / "last.png") == ("done", ""))
        report(found, before, memory(daemon))
        assert not canary.exists() and not (daemon.folder / "canary").exists()
        assert_names_do_no_harm(daemon, made, root)
        assert daemon.stop() == 0
    log = daemon.log.read_text()
    _, _, told = log.partition("latest_prediction'\n")  # after the greeting
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in told.split("\n")[:-1])
    assert log.replace("\n", "").isprintable()


def has_ended(found: tuple[str, str] | None, end: horrors.End) -> bool:
    if found is None or end is None:
        return found == end
    return found[0] == end[0] and re.search(end[1], found[1]) is not None


def found_of(daemon, path: Path) -> tuple[str, str] | None:
    return ends(daemon).get(os.fsencode(path))


def report(found, before: list[float], after: list[float]) -> None:
    """Show what became of each (with `pytest -s`)."""
    for path, (state, reason) in sorted(found.items()):
        print(f"{state:<12}{os.path.basename(path)[:60]!r}: {reason}")  # noqa: T201, PTH119
    for when, sizes in (("before", before), ("after", after)):
        print(f"resident {when}: {', '.join(f'{size:.0f} MB' for size in sizes)}")  # noqa: T201


def assert_names_do_no_harm(daemon, made: list[horrors.Horror], root: bytes) -> None:
    shown = {display_path(root + b"/" + name) for name in horrors.NAMES}
    table = daemon.run("results", "--limit", "0").stdout
    assert table.replace("\n", "").isprintable()
    rows = json.loads(daemon.run("results", "--limit", "0", "--format", "json").stdout)
    assert shown <= {row["path"] for row in rows}
    assert len(table.split("\n")) == len(rows) + 2
    text = daemon.run("results", "--limit", "0", "--format", "csv").stdout
    cells = list(csv.DictReader(io.StringIO(text, newline="")))
    kept = {row["path"].removeprefix("'") for row in cells}
    assert {name.replace("\r", "\n") for name in shown} <= kept  # as Python reads a pipe's text
    lines = daemon.run("results", "--limit", "0", "--format", "jsonl").stdout.splitlines()
    assert len(lines) == len(rows) and all(map(json.loads, lines))
    for form in ("table", "json", "jsonl"):
        said = daemon.run("failed", "--limit", "0", "--format", form).stdout
        assert said.replace("\n", "").isprintable()
    for name in horrors.NAMES[:4]:
        ran = daemon.run("why", os.fsdecode(root + b"/" + name))
        assert ran.returncode == 0 and ran.stdout.replace("\n", "").isprintable()


def test_a_folder_that_is_swapped_for_a_link_again_and_again_lets_nothing_in(tmp_path):
    outside, secrets = tmp_path / "outside", []
    for number in range(30):
        secrets.append(draw(outside / f"{number}.png", 2, number=number))
    with running_daemon(tmp_path, {"executor": {"name": "local", "workers": 2}}) as daemon:
        folder, away = daemon.inbox / "swapped", daemon.folder / "real"
        for number in range(30):
            draw(folder / f"{number}.png", 7, number=1000 + number)
        over = threading.Event()

        def swap() -> None:
            while not over.is_set():
                folder.rename(away)
                folder.symlink_to(outside)
                over.wait(0.02)
                folder.unlink()
                away.rename(folder)
                over.wait(0.02)

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for number in range(60):
                draw(daemon.inbox / f"{number}.png", number % 10)
                over.wait(0.05)
        finally:
            over.set()
            thread.join()
        daemon.until_done(60)
        until(lambda: daemon.states().get("done", 0) >= 90, 60, f"{daemon.states()}")
        assert daemon.query(
            "SELECT DISTINCT label FROM latest_prediction WHERE path LIKE ?", f"{folder}/%"
        ) == [("band-7",)]
        assert daemon.stop() == 0
