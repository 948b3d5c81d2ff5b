"""Months of running: when pruning is due, how long the write-ahead log gets, how full a disk."""

import logging
import sqlite3
from contextlib import closing

import pytest

from daemon.errors import DatabaseReplacedError, NoRoomError, PassingDatabaseError
from daemon.pruning import Removed
from daemon.room import DiskGuard, require_room
from daemon.store.database import open_engine, reading, writing
from daemon.store.maintenance import cut_log, log_size
from daemon.upkeep import CUT_BYTES, WARN_BYTES, Upkeep

HOUR = 3600.0


class SetClock:
    """Time goes on by `pass_`; the wall clock can be set."""

    def __init__(self):
        self.monotonic, self.wall = 1_000.0, 1_800_000_000.0

    def elapsed(self):
        return self.monotonic

    def now(self):
        return self.wall

    def pass_(self, seconds):
        self.monotonic += seconds
        self.wall += seconds


class Kept:
    """An upkeep over a log of any size, that tells when it pruned."""

    def __init__(self):
        self.clock, self.size, self.cuts, self.pruned = SetClock(), 0, 0, []
        self.upkeep = Upkeep(lambda: self.size, self.cut, self.prune, self.clock)

    def cut(self):
        self.cuts += 1

    def prune(self, now, pause):
        self.pruned.append(now)
        yield Removed("events", 3, 2_000_000)
        yield Removed("bundles", 0, 0)

    def hours(self, count):
        for _ in range(int(count * 60)):
            self.clock.pass_(60.0)
            self.upkeep.look()


@pytest.fixture
def kept():
    return Kept()


def test_it_prunes_soon_after_the_start_and_then_once_a_day(kept, caplog):
    caplog.set_level(logging.INFO, "classifyd")
    kept.hours(0.1)
    assert kept.pruned == []
    kept.hours(23)
    assert len(kept.pruned) == 1
    kept.hours(48)
    assert len(kept.pruned) == 3
    assert "pruned 3 events (2.0 MB)" in caplog.text and "bundles" not in caplog.text


def test_what_could_not_be_pruned_is_soon_tried_again(kept):
    def refuse(now, pause):
        kept.pruned.append(now)
        raise PassingDatabaseError("the database is locked by another program")

    kept.upkeep._prune = refuse
    for _ in range(2):
        with pytest.raises(PassingDatabaseError):
            kept.hours(24)
    assert kept.pruned[1] - kept.pruned[0] == 600.0


@pytest.mark.parametrize("jump", [20 * 365 * 24 * HOUR, -20 * 365 * 24 * HOUR])
def test_it_prunes_by_no_clock_that_was_just_set(kept, caplog, jump):
    kept.hours(24)
    kept.clock.wall += jump
    kept.hours(0.15)
    assert len(kept.pruned) == 1, "for ten minutes somebody may set it back"
    kept.clock.wall -= jump
    kept.hours(0.3)
    right = 1_800_000_000.0
    assert all(abs(at - right) < 48 * HOUR for at in kept.pruned)
    assert len(kept.pruned) == 2
    assert caplog.text.count("the clock was set") == 2


def test_a_log_that_cannot_be_cut_is_told_once(kept, caplog):
    kept.upkeep.look()
    assert kept.cuts == 0
    kept.size = CUT_BYTES + 1
    kept.upkeep.look()
    assert kept.cuts == 1 and kept.upkeep.trouble is None
    kept.size = WARN_BYTES + 1
    kept.hours(1)
    assert "256 MB" in kept.upkeep.trouble
    assert caplog.text.count("long query") == 1
    kept.size = 0
    kept.upkeep.look()
    assert kept.upkeep.trouble is None


def grow(engine, rows):
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "INSERT INTO event (kind, happened_at, payload)"
            " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " SELECT 'x', '2026', '\"' || hex(randomblob(500)) || '\"' FROM n",
            (rows,),
        )


def test_the_log_is_cut_once_no_reader_needs_it(filled, engine):
    with closing(sqlite3.connect(filled.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM event").fetchall()
        grow(engine, 10_000)
        grown = log_size(filled.path)
        assert grown > 10_000_000
        cut_log(engine)
        assert log_size(filled.path) == grown, "what is read must stay"
    cut_log(engine)
    assert log_size(filled.path) == 0
    grow(engine, 1)


# --- disk


def test_work_waits_while_a_disk_is_full_and_goes_on_with_some_reserve(tmp_path, caplog):
    free = {tmp_path: 2_000_000_000}
    least = [1_000_000_000]
    guard = DiskGuard({"database": tmp_path}, lambda: least[0], lambda path: free[path])
    caplog.set_level(logging.INFO, "classifyd")
    assert guard.look()
    free[tmp_path] = 999_000_000
    assert not guard.look() and not guard.look()
    assert "999 MB free" in guard.trouble and "1,250 MB" in guard.trouble
    free[tmp_path] = 1_200_000_000
    assert not guard.look(), "a little more is not enough to go on"
    free[tmp_path] = 1_250_000_000
    assert guard.look() and guard.trouble is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    free[tmp_path], least[0] = 0, None
    assert guard.look(), "null switches it off"


def test_room_is_asked_for_where_folders_are_still_to_be_made(tmp_path):
    place = {"database": tmp_path / "not" / "made"}
    require_room(place, None, "training")
    require_room(place, 1, "training")
    with pytest.raises(NoRoomError, match=r"needs .* free on the disk of database .*prune"):
        require_room(place, 1, "training", needs=10**18)


@pytest.mark.parametrize(
    "command",
    [
        ["db", "backup"],
        pytest.param(["retrain", "--now"], marks=pytest.mark.slow),
        pytest.param(["models", "train", "."], marks=pytest.mark.slow),
    ],
)
def test_what_needs_much_room_is_refused_beforehand(tmp_path, filled, classifyd, command):
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text() + "disk: {min_free: 900000TB}\n")
    ran = classifyd(*command)
    assert ran.code == 75 and "disk.min_free" in ran.err
    assert not list(tmp_path.rglob("*.part"))


# --- the file itself


def look(engine, transaction):
    with transaction(engine) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM file")


@pytest.mark.parametrize("how", ["replace", "unlink"])
def test_nothing_is_written_to_a_database_that_was_taken_away(filled, tmp_path, how):
    engine = open_engine(str(filled.path))
    grow(engine, 1)
    if how == "replace":
        (tmp_path / "other.db").write_bytes(filled.path.read_bytes())
        (tmp_path / "other.db").replace(filled.path)
    else:
        filled.path.unlink()
    for transaction in (reading, writing):
        with pytest.raises(DatabaseReplacedError, match="while it was open"):
            look(engine, transaction)
    engine.dispose()
