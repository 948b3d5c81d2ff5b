"""What months leave behind goes by age or by size, and nothing else ever does."""

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from filled import START, at

from daemon.config.sections import RetentionSettings
from daemon.feature_files import INDEX, ROWS, excess, mark_used
from daemon.pruning import Pruning
from daemon.store import retention
from daemon.store.database import writing

DAY = 86_400
NOW = START.timestamp() + 400 * DAY


def pruned(engine, state, dry_run=False, pause=lambda seconds: False, **keep):
    """What goes, by kind: how many, and bytes; what `keep` does not name is kept for ever."""
    names = RetentionSettings.model_fields
    settings = RetentionSettings(**dict.fromkeys(names) | keep)
    found = Pruning(engine, state, settings, NOW, dry_run, pause).run()
    return {each.what: (each.count, each.size) for each in found if each.count}


def event(filled, days_ago, delivered):
    """An event with a delivery for each sink, delivered or not."""
    happened = at((400 - days_ago) * DAY)
    event_id = filled.insert("event", kind="classified", happened_at=happened, payload={"n": 1})
    for number, done in enumerate(delivered):
        row = {
            "event_id": event_id,
            "sink": f"sink-{number}",
            "delivered_at": at() if done else None,
        }
        filled.insert("delivery", **row)
    return event_id


def ids(filled, table="event"):
    return [row[0] for row in filled.execute(f"SELECT id FROM {table} ORDER BY id")]


def write(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


# --- the database


def test_events_go_when_they_are_old_and_every_sink_has_got_them(filled, engine, tmp_path):
    old = event(filled, 31, [True, True])
    waiting = event(filled, 31, [True, False])
    young = event(filled, 29, [True])
    nobodys = event(filled, 31, [])
    assert pruned(engine, tmp_path, dry_run=True, events="30d")["events"] == (2, 16)
    assert ids(filled) == [old, waiting, young, nobodys]
    assert pruned(engine, tmp_path, events="30d")["events"] == (2, 16)
    assert ids(filled) == [waiting, young]
    assert filled.execute("SELECT count(*) FROM delivery") == [(3,)]
    assert event(filled, 0, []) > nobodys, "sinks know events by their numbers"


def test_an_event_that_no_sink_took_is_given_up_late_if_at_all(filled, engine, tmp_path):
    waiting = event(filled, 399, [False])
    assert pruned(engine, tmp_path, events="30d") == {}
    assert pruned(engine, tmp_path, undelivered="400d") == {}
    assert ids(filled) == [waiting]
    assert pruned(engine, tmp_path, undelivered="180d")["undelivered events"][0] == 1
    assert ids(filled) == [] and filled.execute("SELECT * FROM delivery") == []


def test_many_events_go_in_batches_between_which_others_write(
    filled, engine, tmp_path, monkeypatch
):
    monkeypatch.setattr(retention, "BATCH", 3)
    for _ in range(8):
        event(filled, 31, [True])
    between = []

    def pause(_seconds):
        other = sqlite3.connect(filled.path, timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # fails while anybody writes
        other.close()
        between.append(len(ids(filled)))
        return len(between) == 2

    assert pruned(engine, tmp_path, pause=pause, events="30d")["events"][0] == 6
    assert between == [5, 2], "and a stop ends it after the batch in hand"
    assert pruned(engine, tmp_path, events="30d")["events"][0] == 2


def test_requests_and_logs_of_runs_get_old(filled, engine, tmp_path):
    filled.insert("request", kind="x", argument={}, asked_at=at(), finished_at=at())
    open_one = filled.insert("request", kind="x", argument={}, asked_at=at())
    run = {"strategy": "probe", "plan": {}, "data": {}, "metrics": {}, "started_at": at()}
    ended = {"state": "failed", "finished_at": at()}
    filled.insert("training_run", **run, **ended, log="no room\nand a long story")
    filled.insert("training_run", **run, state="running", log="two\nlines")
    went = pruned(engine, tmp_path, events="30d", run_logs="180d")
    assert went["requests"][0] == 1 and ids(filled, "request") == [open_one]
    assert went["logs of training runs"] == (1, 16)
    assert filled.execute("SELECT log FROM training_run") == [("no room",), ("two\nlines",)]


# --- bundles and what was compiled of them


@pytest.fixture
def versions(filled, tmp_path):
    """a, b, c, b in turn were active; the gate refused one challenger; one is a candidate."""

    def model(name, **values):
        write(tmp_path / "models" / name / "model.keras", 1000)
        write(tmp_path / "compiled" / name / "openvino-1" / "row.json", 100)
        return filled.model(name, active=False, bundle=name, **values)

    numbers = [model(name) for name in "abc"]
    for day, number in enumerate((0, 1, 2, 1)):
        row = {"model_version_id": numbers[number], "deployed_at": at(day * DAY), "reason": "test"}
        filled.insert("deployment", **row)
    run = {"strategy": "probe", "state": "finished", "plan": {}, "data": {}, "metrics": {}}
    verdict = {"allowed": False, "reasons": []}
    run_id = filled.insert(
        "training_run", **run, started_at=at(), finished_at=at(), verdict=verdict
    )
    model("refused", training_run_id=run_id)
    model("candidate")
    return numbers


def bundles(state):
    return sorted(path.name for path in (state / "models").iterdir())


def test_bundles_go_that_nothing_goes_back_to(versions, filled, engine, tmp_path):
    assert pruned(engine, tmp_path, bundles="500d") == {}
    assert pruned(engine, tmp_path, True, bundles="90d")["bundles"] == (2, 2000)
    assert pruned(engine, tmp_path, bundles="90d") == {
        "bundles": (2, 2000),
        "compiled forms": (2, 200),
    }
    # b is active, and a rollback goes to c.
    assert bundles(tmp_path) == ["b", "c", "candidate"]
    assert len(filled.execute("SELECT * FROM model_version")) == 5
    assert pruned(engine, tmp_path, bundles="90d") == {}


def test_a_version_activated_while_we_look_keeps_its_bundle(
    versions, filled, engine, tmp_path, monkeypatch
):
    real = retention.writing

    def activate_first(used):
        monkeypatch.setattr(retention, "writing", real)
        with writing(engine) as connection:
            row = {"model": versions[0], "at": at(), "why": "meanwhile"}
            connection.exec_driver_sql(
                "INSERT INTO deployment (model_version_id, deployed_at, reason)"
                " VALUES (:model, :at, :why)",
                row,
            )
        return real(used)

    monkeypatch.setattr(retention, "writing", activate_first)
    pruned(engine, tmp_path, bundles="90d")
    assert "a" in bundles(tmp_path)


# --- files


def shard(state, key, name, size, made):
    index = write(state / "features" / key / f"{name}{INDEX}", 10)
    write(index.with_suffix(ROWS), size - 10)
    os.utime(index, (made, made))
    return index


def test_features_go_by_size_those_unused_longest_first(engine, tmp_path):
    old, older = (shard(tmp_path, "old", name, 100, at) for name, at in (("x", 20), ("y", 10)))
    used = shard(tmp_path, "used", "z", 100, 5)
    mark_used(used.parent)
    os.utime(old.parent, (0, 0))
    assert pruned(engine, tmp_path, features=300) == {}
    assert pruned(engine, tmp_path, features=250)["cached features"] == (1, 100)
    assert not older.exists() and old.exists()
    assert pruned(engine, tmp_path, features=0)["cached features"] == (2, 200)
    assert list(tmp_path.rglob(f"*{ROWS}")) == []


def test_features_that_a_training_adds_to_stay(tmp_path):
    import fcntl

    from daemon.lock import locked_folder

    index = shard(tmp_path, "key", "x", 100, 1)
    (going,) = excess(tmp_path / "features", 0)
    with locked_folder(index.parent, fcntl.LOCK_SH):
        assert not going.remove() and index.exists()
    assert going.remove() and not index.exists()


def test_only_our_own_old_backups_go_and_never_the_newest(engine, tmp_path):
    backups = tmp_path / "backups"
    oldest = write(backups / "classifyd-20250101T000000Z.db")
    newer = write(backups / "classifyd-schema-0001-20250201T000000Z.db")
    newest = write(backups / "classifyd-20250301T000000Z.db")
    mine = write(backups / "before-the-party.db")
    half = write(backups / "classifyd-20250401T000000Z.db.part")
    os.utime(half, (0, 0))
    assert pruned(engine, tmp_path, backups="90d")["backups"] == (3, 30)
    assert [path.exists() for path in (oldest, newer, newest, mine, half)] == [
        *(False, False, True, True, False)
    ]


# --- the command


def test_the_command_tells_what_went(filled, classifyd, tmp_path):
    event(filled, 399, [True])
    ran = classifyd("prune", "--dry-run")
    assert "nothing was removed" in ran.err and ids(filled)
    rows = {row["what"]: row for row in json.loads(classifyd("prune", "--format", "json").out)}
    assert rows["events"] == {"what": "events", "removed": 1, "bytes": 8}
    assert rows["bundles"]["removed"] == 0
    assert not ids(filled)


def test_a_version_without_bundle_is_listed_as_such_and_not_activated(
    versions, filled, classifyd, tmp_path
):
    for name in ("models", "compiled"):
        (tmp_path / name).rename(write(tmp_path / "state" / "x").with_name(name))
    classifyd("prune")
    listed = json.loads(classifyd("models", "list", "--format", "json").out)
    assert {row["name"]: row["has_bundle"] for row in listed} == {
        **dict.fromkeys(("a", "refused"), False),
        **dict.fromkeys(("b", "c", "candidate"), True),
    }
    ran = classifyd("models", "activate", "a")
    assert ran.code == 1 and "import" in ran.err


def test_two_rounds_at_once_do_each_thing_once(filled, engine, tmp_path):
    for _ in range(50):
        event(filled, 31, [True])
    went = []

    def one():
        went.append(pruned(engine, tmp_path, events="30d").get("events", (0, 0))[0])

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(went) == 50 and ids(filled) == []
