"""`db check` names what is wrong, `--repair` mends it; `db restore` puts a backup back."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from daemon.app import register_bundle
from daemon.artifacts import digest
from daemon.config import load
from daemon.lock import database_lock
from daemon.store.models import Models
from daemon.testing import stub_bundle


@pytest.fixture
def three(filled, tmp_path):
    """Three classified files, a bird, a cat and a dog, and the bundle that did it."""
    bundle = stub_bundle(tmp_path / "state" / "models", "compact-1")
    filled.model("compact-1", bundle=bundle.name, digest=digest(bundle))
    for number, label in enumerate(("bird", "cat", "dog")):
        filled.seen(f"/in/{label}.jpg", label, seconds=number)
    filled.execute("PRAGMA foreign_keys=OFF")
    return filled


def shown(filled) -> dict[str, str]:
    return dict(filled.execute("SELECT path, label FROM latest_prediction"))


def queue(filled) -> list[str]:
    rows = filled.execute("SELECT path FROM file WHERE state = 'queued' ORDER BY id")
    return [path for (path,) in rows]


ALL = {f"/in/{label}.jpg": label for label in ("bird", "cat", "dog")}
CAT = {path: label for path, label in ALL.items() if label != "cat"}
DAMAGE = {
    "a label": ("UPDATE file SET label = 'dog' WHERE label = 'cat'", "not that of their pred", ALL),
    "no current row": (
        "UPDATE file SET is_current = 0 WHERE label = 'cat'",
        "without exactly one current row",
        ALL,
    ),
    "no prediction": (
        "UPDATE file SET prediction_id = NULL, label = NULL WHERE label = 'cat'",
        "done files without a prediction",
        ALL,
    ),
    "prediction lost": (
        "DELETE FROM prediction WHERE label = 'cat'",
        "rows of file that point to a row of prediction that is not there",
        CAT,
    ),
    "image lost": (
        "DELETE FROM image WHERE id = 2",
        "rows of prediction that point to a row of image that is not there",
        CAT,
    ),
    "another image": (
        "UPDATE file SET image_id = 1 WHERE label = 'cat'",
        "prediction is of another image",
        ALL | {"/in/cat.jpg": "bird"},
    ),
    "no version": (
        "DELETE FROM model_version",
        "rows of deployment that point to a row of model_version that is not there",
        {},
    ),
    "a claim": ("UPDATE file SET state = 'claimed' WHERE label = 'cat'", "has ended", ALL),
    "no next try": ("UPDATE file SET state = 'retry' WHERE label = 'cat'", "at no time", ALL),
    "a delivery": (
        "INSERT INTO delivery (event_id, sink, attempts) VALUES (77, 's', 0)",
        "rows of delivery that point to a row of event",
        ALL,
    ),
    "a lost view": ("DROP VIEW failure", "view failure is missing; --repair makes it again", ALL),
    "an altered view": (
        "DROP VIEW failure; CREATE VIEW failure AS SELECT path FROM file",
        "view failure was altered; --repair makes it anew: DROP VIEW failure; CREATE VIEW",
        ALL,
    ),
    "a lost index": ("DROP INDEX ix_file_path", "index ix_file_path is missing", ALL),
}


QUICK = ("a label", "prediction lost", "a lost view")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in DAMAGE]
)
def test_what_is_wrong_is_named_and_mended_after_a_backup(classifyd, three, tmp_path, name):
    damage, says, left = DAMAGE[name]
    three.connection.executescript(damage)
    ran = classifyd("db", "check")
    assert ran.code == 1 and says in ran.out and "--repair" in ran.out
    assert classifyd("db", "check").out == ran.out
    ran = classifyd("db", "check", "--repair")
    assert ran.code == 0 and "nothing is wrong" in ran.out
    (backup,) = (tmp_path / "state" / "backups").iterdir()
    assert f"{backup}: holds the database as it was before" in ran.out
    assert shown(three) == left
    is_asked_again = name in ("a claim", "no next try")
    assert queue(three) == (["/in/cat.jpg"] if is_asked_again else sorted(ALL.keys() - left.keys()))
    assert classifyd("db", "check", "--drift").code == 0


def test_a_sound_database_is_left_alone(classifyd, three, tmp_path):
    ran = classifyd("db", "check", "--repair")
    assert ran.code == 0 and "nothing is wrong" in ran.out
    assert not (tmp_path / "state" / "backups").exists()


def test_nothing_is_repaired_or_replaced_beside_a_daemon(classifyd, three, tmp_path):
    three.execute("UPDATE file SET state = 'claimed' WHERE label = 'cat'")
    shutil.copyfile(three.path, tmp_path / "copy.db")
    with database_lock(three.path):
        assert classifyd("db", "check").code == 0  # a claim is no wonder
        for command in (["check", "--repair"], ["restore", "copy.db"]):
            ran = classifyd("db", *command)
            assert ran.code == 75 and "stop it first" in ran.err


@pytest.fixture
def registered(three, engine, tmp_path):
    """Two model versions with bundles, `first` and the active `second`; returns the folder."""
    loaded = load(tmp_path / "config.yaml", {})
    models = Models(engine)
    for table in ("file", "prediction", "deployment", "model_version"):
        three.execute(f"DELETE FROM {table}")
    shutil.rmtree(tmp_path / "state" / "models")
    for name in ("first", "second"):
        bundle = stub_bundle(tmp_path / "bundles", name)
        version = register_bundle(models, bundle, loaded.settings, "2026-05-01T12:00:00.000Z")
        models.deploy(version, "by a test", None, "2026-05-01T12:00:00.000Z")
    return tmp_path / "state" / "models"


def active(classifyd) -> str:
    rows = json.loads(classifyd("models", "list", "--format", "json").out)
    return next(row["name"] for row in rows if row["active"])


@pytest.mark.parametrize("how", ["missing", pytest.param("altered", marks=pytest.mark.slow)])
def test_an_active_version_without_its_bundle_gives_way_to_the_one_before(
    classifyd, registered, how
):
    (bundle,) = registered.glob("second-*")
    if how == "missing":
        shutil.rmtree(bundle)
    else:
        (bundle / "model.keras").write_bytes(b"other")
    ran = classifyd("db", "check")
    assert ran.code == 1 and "--repair activates first, which was active before" in ran.out
    ran = classifyd("db", "check", "--repair")
    assert active(classifyd) == "first"
    assert ran.code == (0 if how == "missing" else 1)  # what is altered stays told


def test_strange_bundles_are_registered_and_leftovers_removed(classifyd, registered, tmp_path):
    stub_bundle(registered, "stray")
    (registered / ".unfinished-1.part").mkdir()
    (tmp_path / "state" / "compiled" / "first" / ".unfinished-1.part").mkdir(parents=True)
    (tmp_path / "state" / "training-left").mkdir()
    ran = classifyd("db", "check")
    assert "scratch folders of training: 1" in ran.out
    assert "no model version has it; --repair registers it" in ran.out
    assert "half-written bundles: 1" in ran.out and "half-compiled models: 1" in ran.out
    assert classifyd("db", "check", "--repair").code == 0
    assert '"stray"' in classifyd("models", "list", "--format", "json").out
    assert list((tmp_path / "state").glob("**/*.part")) == []
    assert not (tmp_path / "state" / "training-left").exists()


def test_a_backup_is_put_back_and_what_it_replaces_is_kept(classifyd, three, tmp_path):
    assert classifyd("db", "backup", "mine.db").code == 0
    three.execute("DELETE FROM file")
    ran = classifyd("db", "restore", "mine.db")
    assert ran.code == 0, ran.err
    (kept,) = (tmp_path / "state" / "backups").iterdir()
    for path, count in ((three.path, 3), (kept, 0), (tmp_path / "mine.db", 3)):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM file").fetchone() == (count,)
    assert classifyd("db", "check").code == 0


def test_a_backup_takes_the_place_of_a_damaged_database_which_is_kept(classifyd, three, tmp_path):
    assert classifyd("db", "backup", "mine.db").code == 0
    three.connection.close()
    damaged = b"SQLite format 3\x00" + b"\xff" * 8192
    three.path.write_bytes(damaged)
    assert classifyd("db", "restore", "mine.db").code == 0
    (kept,) = (tmp_path / "state" / "backups").glob("*-damaged.db")
    assert kept.read_bytes() == damaged
    assert classifyd("db", "check").code == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b"text"), "not a database"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE a (b)"), "no database of"),
    ],
)
def test_what_is_no_sound_backup_replaces_nothing(classifyd, three, tmp_path, make, says):
    made = make(tmp_path / "mine.db")
    if made is not None and hasattr(made, "connection"):
        made.connection.close()
    ran = classifyd("db", "restore", "mine.db")
    assert ran.code == 1 and says in ran.err
    assert shown(three) == ALL
