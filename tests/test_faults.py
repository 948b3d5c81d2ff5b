"""Kill points, power cuts and a storm, a few of each; `python -m tests.faults` runs them all.

What is drawn differs from run to run; `FAULTS_SEED` repeats a run by the seed that it printed.
"""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from faults.audit import Scene, audit
from faults.gate import Action
from faults.life import serving
from faults.points import Enumeration, chosen
from faults.powercut import Disk
from faults.seccomp import unavailable
from faults.storm import Storm

needs_gate = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


@pytest.fixture
def seed():
    """The seed of all that is drawn."""
    drawn = int(os.environ.get("FAULTS_SEED", secrets.randbelow(1_000_000)))
    print(f"FAULTS_SEED={drawn}")  # noqa: T201
    return drawn


@needs_gate
@pytest.mark.slow
def test_a_life_ended_before_any_of_its_durable_actions_loses_and_doubles_nothing(tmp_path, seed):
    lives = Enumeration(serving, tmp_path)
    met = lives.count()
    assert {"rename a bundle", "sync classifyd.db-wal", "sync events.jsonl"} <= set(met)
    ends = list(lives.end_at_each(chosen(len(met), 6, seed), 2))
    assert [f"{end.point} before {end.at}: {end.wrong}" for end in ends if end.wrong] == []


@pytest.mark.slow
def test_a_storm_of_kills_over_changing_files_loses_and_doubles_nothing(tmp_path, seed):
    told = Storm(tmp_path, seed).blow(6)
    assert told.wrong == []
    assert told.count >= 6


def test_a_power_cut_keeps_what_was_synced_under_the_names_that_were(tmp_path):
    old = tmp_path / "old"
    old.write_text("as it was")
    disk = Disk(tmp_path, lambda path: False)

    def tell(kind: str, path: Path, target: Path | None = None) -> None:
        disk.before(Action(kind, path, target, 0, True))

    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("synced", "unsynced"):
        (folder / name).write_text("bytes")
    tell("sync", folder / "synced")
    tell("sync", folder)
    (folder / "nameless").write_text("bytes")
    tell("sync", folder / "nameless")
    tell("sync", tmp_path)
    old.write_text("changed")
    tell("rename", folder / "synced", old)
    (folder / "synced").rename(old)
    disk.cut()
    there = {
        str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()
    }
    assert there == {"old": "as it was", "folder/synced": "bytes", "folder/unsynced": ""}


def test_the_audit_names_what_is_lost_doubled_and_left_behind(filled, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "lost.png").write_bytes(b"bytes")
    (tmp_path / "state" / "models" / "half").mkdir(parents=True)
    (tmp_path / "state" / "x.part").touch()
    with closing(sqlite3.connect(tmp_path / "classifyd.db")) as database, database:
        for name in ("stuck", "stuck", "vanished"):
            database.execute(
                "INSERT INTO file (source, path, path_bytes, is_current, size, mtime_ns, inode,"
                " state, found_at, state_at) VALUES ('s', ?, ?, ?, 1, 1, 1, ?, '', '')",
                (
                    str(inbox / name),
                    os.fsencode(inbox / name),
                    name == "vanished",
                    "ignored" if name == "vanished" else "claimed",
                ),
            )
    wrong = "\n".join(audit(Scene(filled.path, tmp_path / "state", [inbox])))
    for said in (
        "lost.png: 0 current rows",
        "stuck: claimed",
        "stuck: 2 rows of one version",
        "stuck: not exactly one current row",
        "vanished: not there, but its row does not say so",
        "bundle half: no manifest",
        f"left behind: {tmp_path / 'state' / 'x.part'}",
    ):
        assert said in wrong
