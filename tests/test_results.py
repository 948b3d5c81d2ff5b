"""Finding results: the right ones whatever way is taken, without scans; following misses none."""

import random
import threading
from fnmatch import fnmatchcase
from itertools import product

import pytest
from filled import at

from daemon.store import results as module
from daemon.store.database import reading
from daemon.store.results import Follower, Wanted, results

LABELS = ("cat", "dog", "bird")
CONDITIONS = {
    "label": "dog",
    "since": at(100),
    "until": at(300),
    "taken_since": "2026-01-15T00:00:00",
    "source": "camera",
    "min_confidence": 0.3,
    "max_confidence": 0.7,
    "unknown": True,
    "model": "compact-2",
}


@pytest.fixture(params=[20_000, 0], ids=["narrowest", "in order"])
def way(request, monkeypatch):
    """Begin with the narrowest condition, or walk in order as if all were met by many rows."""
    monkeypatch.setattr(module, "_FEW", request.param)
    monkeypatch.setattr(module, "_FEW_OF_ALL", request.param)


@pytest.fixture
def many(filled):
    """A few hundred results of all kinds, as rows to compare with."""
    chance, rows = random.Random(1), []
    for number in range(300):
        taken = None if number % 3 == 0 else f"2026-01-{number % 28 + 1:02d}T10:00:00"
        row = {
            "path": f"/data/{'ab'[number % 2]}/{number}.jpg",
            "label": chance.choice(LABELS),
            "confidence": round(chance.random(), 3),
            "seconds": chance.randrange(400),
            "source": chance.choice(("inbox", "camera")),
            "unknown": chance.random() < 0.2,
            "model": chance.choice(("compact-1", "compact-2")),
            "taken_at": taken,
        }
        row["id"] = filled.seen(**row)
        rows.append(row)
    for row in rows[:20]:
        filled.execute("UPDATE file SET is_current = 0 WHERE id = ?", [row["id"]])
        filled.file(row["path"], "queued")
    return rows[20:]


def fits(row, wanted):
    checks = {
        "label": lambda v: row["label"] == v,
        "since": lambda v: at(row["seconds"]) >= v,
        "until": lambda v: at(row["seconds"]) < v,
        "taken_since": lambda v: (row["taken_at"] or "") >= v,
        "source": lambda v: row["source"] == v,
        "min_confidence": lambda v: row["confidence"] >= v,
        "max_confidence": lambda v: row["confidence"] <= v,
        "unknown": lambda v: row["unknown"],
        "model": lambda v: row["model"] == v,
    }
    return all(check(wanted[name]) for name, check in checks.items() if name in wanted)


def found(engine, wanted, limit=0):
    with reading(engine) as connection:
        return [row["path"] for row in results(connection, wanted, limit)]


def newest_first(rows):
    ordered = sorted(rows, key=lambda row: (row["seconds"], row["id"]), reverse=True)
    return [row["path"] for row in ordered]


def test_conditions_alone_and_in_pairs_find_what_fits_newest_first(way, engine, many):
    for first, second in product(CONDITIONS, repeat=2):
        wanted = {name: CONDITIONS[name] for name in (first, second)}
        expected = newest_first(row for row in many if fits(row, wanted))
        assert found(engine, Wanted(**wanted)) == expected, wanted
    assert found(engine, Wanted()) == newest_first(many)
    assert found(engine, Wanted(), 7) == newest_first(many)[:7]


@pytest.mark.parametrize(
    "pattern", ["/data/a/*", "/data/*9.jpg", "*/b/1?.jpg", "/data/[ab]/5*", "*", "/nowhere/*"]
)
def test_path_patterns(way, engine, many, pattern):
    expected = newest_first(row for row in many if fnmatchcase(row["path"], pattern))
    assert found(engine, Wanted(path=pattern)) == expected


def test_a_path_is_a_file_or_a_folder_but_no_beginning_of_a_name(way, engine, filled):
    for name in ("/in/cats", "/in/cats.jpg", "/in/cats-2/b.jpg", "/in/cats0", "/in/cats/ä/c.jpg"):
        filled.seen(name)
    assert set(found(engine, Wanted(path="/in/cats"))) == {"/in/cats", "/in/cats/ä/c.jpg"}
    assert found(engine, Wanted(path="/in/cats.jpg")) == ["/in/cats.jpg"]
    assert len(found(engine, Wanted(path="/in"))) == 5


def test_no_way_reads_a_whole_table(engine, many, monkeypatch):
    """Walks are along an index, and only narrow ones are sorted."""
    for bound, (name, value) in product((20_000, 0), CONDITIONS.items()):
        monkeypatch.setattr(module, "_FEW_OF_ALL", bound)
        plan = plan_of(engine, Wanted(**{name: value}))
        assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step], plan
        if bound == 0:
            assert not [step for step in plan if "TEMP B-TREE" in step], plan


def plan_of(engine, wanted):
    with reading(engine) as connection:
        values = module._values(wanted)
        way = module._best_way(connection, wanted, values, module._FEW_OF_ALL)
        order = "ORDER BY file.classified_at DESC, file.id DESC"
        statement = f"EXPLAIN QUERY PLAN {module._statement(way, wanted)} {order}"
        return [row[3] for row in connection.exec_driver_sql(statement, values)]


class Script:
    """Stands for the time between two looks: each does one thing, the last ends the following."""

    def __init__(self, *steps):
        self._steps = iter(steps)

    def __call__(self):
        step = next(self._steps, None)
        if step is None:
            return False
        step()
        return True


def followed(engine, *steps, **wanted):
    rows = Follower(engine, Wanted(**wanted)).run(Script(*steps))
    return [row["path"] for row in rows]


def test_following_gives_only_what_is_new(engine, filled):
    filled.seen("/old.jpg", seconds=1)
    steps = (lambda: filled.seen("/new.jpg", seconds=2), lambda: None, lambda: None)
    assert followed(engine, *steps) == ["/new.jpg"]


def test_following_begins_in_an_empty_database(engine, filled):
    assert followed(engine, lambda: filled.seen("/first.jpg"), lambda: None) == ["/first.jpg"]


def test_following_since_gives_the_past_first_and_in_order(engine, filled):
    for number in (3, 1, 2):
        filled.seen(f"/{number}.jpg", seconds=number)
    steps = (lambda: filled.seen("/4.jpg", seconds=4),)
    assert followed(engine, *steps, since=at(2)) == ["/2.jpg", "/3.jpg", "/4.jpg"]


def test_following_misses_no_row_of_the_same_millisecond_or_of_a_clock_set_back(engine, filled):
    low = filled.file("/low.jpg")
    image = filled.image()
    prediction = filled.prediction(image)
    filled.seen("/high.jpg", seconds=50)

    def classify_low():
        filled.execute(
            "UPDATE file SET state='done', image_id=?, prediction_id=?, label='cat',"
            " classified_at=?, state_at=? WHERE id=?",
            [image, prediction, at(50), at(50), low],
        )

    steps = (
        lambda: filled.seen("/same.jpg", seconds=50),
        classify_low,
        lambda: filled.seen("/back.jpg", seconds=45),
        lambda: filled.seen("/on.jpg", seconds=51),
        lambda: None,
    )
    assert followed(engine, *steps) == ["/same.jpg", "/low.jpg", "/back.jpg", "/on.jpg"]


def test_following_gives_a_version_that_was_soon_overwritten(engine, filled):
    def overwritten():
        row = filled.seen("/a.jpg", seconds=9)
        filled.execute("UPDATE file SET is_current = 0 WHERE id = ?", [row])
        filled.seen("/a.jpg", label="dog", seconds=10)

    assert followed(engine, overwritten, lambda: None) == ["/a.jpg", "/a.jpg"]


def test_classifying_again_is_news_of_the_current_version_only(engine, filled):
    old = filled.seen("/a.jpg", is_current=False)
    now = filled.seen("/a.jpg")

    def again():
        filled.execute("UPDATE file SET classified_at = ? WHERE id IN (?, ?)", [at(60), old, now])

    assert followed(engine, again, lambda: None) == ["/a.jpg"]


def test_following_keeps_to_the_conditions_and_reads_no_further_back_than_needed(engine, filled):
    filled.seen("/old.jpg", label="dog", confidence=0.99)
    follower = Follower(engine, Wanted(label="dog", min_confidence=0.8))
    looks = []
    look = Follower._look

    def noted(self, since, mark, seen):
        looks.append(since)
        return look(self, since, mark, seen)

    steps = [
        lambda number=number: filled.seen(f"/{number}.jpg", seconds=100 * number)
        for number in range(1, 4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Follower, "_look", noted)
        assert list(follower.run(Script(*steps, lambda: None))) == []
    assert looks[-1] >= at(280)


def test_following_while_another_thread_writes(engine, filled):
    total = 200
    filled.prediction(filled.image())
    finished = threading.Event()

    def write():
        for number in range(total):
            filled.seen(f"/{number}.jpg", seconds=number // 7 / 1000)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    is_last = False

    def wait():
        nonlocal is_last
        if is_last:
            return False
        is_last = finished.wait(0.01)
        return True

    paths = [row["path"] for row in Follower(engine, Wanted(since="2026")).run(wait)]
    writer.join()
    assert sorted(paths) == sorted(f"/{number}.jpg" for number in range(total))


def test_the_views_answer_alike(engine, filled, many):
    view = filled.execute("SELECT path FROM latest_prediction")
    assert sorted(path for (path,) in view) == sorted(found(engine, Wanted()))
