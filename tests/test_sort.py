"""The `sort` sink: nothing is lost, doubled or written over, and all can be taken back."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from daemon.errors import RejectedEventError, SinkError
from daemon.testing import make_event, running_daemon, until
from plugins.sinks._folders import folder_name, numbered
from plugins.sinks.sort import SortOptions, SortSink

MODES = ["copy", "move", "hardlink", "symlink"]


class Sorted:
    """A sorted folder beside an inbox, and a sink that sorts into it."""

    def __init__(self, folder: Path, mode: str, **options: object) -> None:
        self.inbox, self.folder = folder / "inbox", folder / "sorted"
        self.inbox.mkdir()
        self.options = SortOptions(folder=self.folder, mode=mode, **options)
        self.sink = SortSink(self.options)
        self.count = 0

    def drop(self, name: str, content: bytes = b"woof") -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def sort(self, path: Path, label: str = "dog", content: bytes | None = None, **told) -> None:
        self.count += 1
        content = path.read_bytes() if content is None else content
        digest = hashlib.sha256(content).hexdigest()
        self.sink.publish(make_event(self.count, path, label=label, sha256=digest, **told))

    def seen(self) -> dict[str, bytes]:
        files = [path for path in self.folder.rglob("[!.]*") if not path.is_dir()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture
def make_sorted(tmp_path):
    made = []

    def make(mode="copy", **options):
        made.append(Sorted(tmp_path, mode, **options))
        config = f"sinks: [{{name: sort, folder: sorted, mode: {mode}}}]\n"
        (tmp_path / "config.yaml").write_text(config)
        return made[-1]

    yield make
    for each in made:
        each.sink.close()


@pytest.mark.parametrize(
    "mode",
    ["move", *(pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode != "move")],
)
def test_images_get_into_the_folders_of_their_labels_and_back(make_sorted, classifyd, mode):
    box = make_sorted(mode, min_confidence=0.5)
    dog, odd, dim = box.drop("rex.jpg"), box.drop("odd.jpg", b"?"), box.drop("dim.jpg", b"!")
    box.sort(dog)
    box.sort(odd, is_unknown=True)
    box.sort(dim, confidence=0.4)
    assert box.seen() == {"dog/rex.jpg": b"woof", "unknown/odd.jpg": b"?", "unknown/dim.jpg": b"!"}
    assert dog.exists() == (mode != "move")
    placed = box.folder / "dog" / "rex.jpg"
    assert placed.is_symlink() == (mode == "symlink")
    if mode == "hardlink":
        assert placed.samefile(dog)
    dry = classifyd("sort", "undo", "--dry-run")
    assert dry.code == 0 and dry.out.startswith("3 ") and len(box.seen()) == 3
    assert "rex.jpg" in classifyd("sort", "list").out
    undone = classifyd("sort", "undo")
    assert (undone.code, undone.err) == (0, "") and undone.out.startswith("3 ")
    assert box.seen() == {}
    assert (dog.read_bytes(), odd.read_bytes(), dim.read_bytes()) == (b"woof", b"?", b"!")
    assert classifyd("sort", "undo").out == "nothing to take back\n"
    box.sort(dog)
    assert box.seen() == {}, "what a person took back is not sorted again"


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_another_file_of_the_name_is_never_written_over(make_sorted, mode):
    box = make_sorted(mode)
    for folder in "abc":
        box.sort(box.drop(f"{folder}/rex.jpg", folder.encode()))
    (box.folder / "dog" / "max").write_bytes(b"theirs")
    box.sort(box.drop("max", b"ours"))
    assert box.seen() == {
        "dog/rex.jpg": b"a",
        "dog/rex-2.jpg": b"b",
        "dog/rex-3.jpg": b"c",
        "dog/max": b"theirs",
        "dog/max-2": b"ours",
    }


def test_the_same_content_is_copied_once_but_every_file_is_moved(make_sorted, tmp_path):
    box = make_sorted("copy")
    box.sort(box.drop("a/rex.jpg"))
    box.sort(box.drop("b/rex.jpg"))
    assert list(box.seen()) == ["dog/rex.jpg"]
    box.sink.close()
    mover = SortSink(box.options.model_copy(update={"mode": "move"}))
    digest = hashlib.sha256(b"woof").hexdigest()
    mover.publish(make_event(10, box.inbox / "a" / "rex.jpg", sha256=digest))
    mover.close()
    assert box.seen() == {"dog/rex.jpg": b"woof", "dog/rex-2.jpg": b"woof"}
    assert not (box.inbox / "a" / "rex.jpg").exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_changed_or_vanished_meanwhile_is_left_alone(make_sorted, mode):
    box = make_sorted(mode)
    changed, gone, link = box.drop("changed.jpg"), box.drop("gone.jpg"), box.inbox / "link.jpg"
    link.symlink_to(changed)
    box.sort(changed, content=b"before")
    gone.unlink()
    box.sort(gone, content=b"woof")
    box.sort(link)
    os.mkfifo(box.inbox / "pipe.jpg")
    box.sort(box.inbox / "pipe.jpg", content=b"woof")
    assert box.seen() == {} and changed.read_bytes() == b"woof"
    assert not list(box.folder.rglob("*.part"))


def test_another_label_changes_the_folder(make_sorted, classifyd):
    box = make_sorted("copy")
    rex = box.drop("rex.jpg")
    for label in ("cat", "dog", "dog", "cat"):
        box.sort(rex, label)
    assert box.seen() == {"cat/rex.jpg": b"woof"}
    rex.unlink()
    kept = classifyd("sort", "undo")
    assert kept.code == 1
    assert "cat/rex.jpg: its original is gone" in kept.err and kept.out == "1 kept\n"
    assert box.seen() == {"cat/rex.jpg": b"woof"}


def test_a_file_does_not_go_back_over_another(make_sorted, classifyd):
    box = make_sorted("move")
    rex = box.drop("rex.jpg")
    box.sort(rex)
    rex.write_bytes(b"a newer one")
    kept = classifyd("sort", "undo")
    assert kept.code == 1 and "another file is in its old place" in kept.err
    assert rex.read_bytes() == b"a newer one" and box.seen() == {"dog/rex.jpg": b"woof"}
    rex.unlink()
    assert classifyd("sort", "undo").out == "1 file moved back\n"
    assert rex.read_bytes() == b"woof"


def test_label_folders_and_the_sorted_folder_itself_are_left_alone(make_sorted):
    box = make_sorted("move")
    box.sink.spare(["labels"])
    said = box.drop("said.jpg")
    box.sort(said, source="labels")
    assert said.exists() and box.seen() == {}
    box.sort(box.drop("rex.jpg"))
    box.sort(box.folder / "dog" / "rex.jpg", label="cat")
    assert box.seen() == {"dog/rex.jpg": b"woof"}


def test_names_that_are_no_text_are_kept(make_sorted):
    box = make_sorted("move")
    name = os.fsdecode(b"caf\xe9\n'.jpg")
    path = box.drop(name)
    digest = hashlib.sha256(b"woof").hexdigest()
    told = {"sha256": digest, "path_hex": os.fsencode(path).hex()}
    box.sink.publish(make_event(1, "cannot be told", **told))
    assert (box.folder / "dog" / name).read_bytes() == b"woof" and not path.exists()


def test_what_cannot_be_placed_is_told_apart(make_sorted, tmp_path):
    box = make_sorted("copy")
    rex = box.drop("rex.jpg")
    box.folder.mkdir()
    (box.folder / "dog").write_bytes(b"no folder")
    with pytest.raises(RejectedEventError, match="dog"):
        box.sort(rex)
    with pytest.raises(RejectedEventError, match="its folder is gone"):
        box.sort(tmp_path / "unmounted" / "rex.jpg", content=b"")
    box.sort(rex, label="cat")
    assert "cat/rex.jpg" in box.seen()


def test_a_sorted_folder_that_is_removed_is_made_again(make_sorted):
    box = make_sorted("copy")
    rex = box.drop("rex.jpg")
    box.sort(rex)
    subprocess.run(["rm", "-r", box.folder], check=True)
    try:
        box.sort(rex)
    except SinkError:
        box.sort(rex)
    assert box.seen() == {"dog/rex.jpg": b"woof"}


@pytest.mark.parametrize(
    "label",
    ["../up", "a/b", "a\\b", ".hidden", "", "  ", "x\0y", "new\nline", "é" * 300, ".", ".."],
)
def test_any_label_makes_one_visible_folder(label):
    name = folder_name(label)
    assert Path(name).name == name and not name.startswith(".") and name.isprintable()
    assert 0 < len(name.encode()) <= 255
    assert name != folder_name(label + "!")


def test_ordinary_labels_stay_as_they_are_and_long_names_fit():
    assert [folder_name(label) for label in ("dog", "Grüner Tee", "a.b")] == [
        "dog",
        "Grüner Tee",
        "a.b",
    ]
    names = numbered("é" * 125 + ".jpg")
    assert all(len(os.fsencode(next(names))) <= 255 for _ in range(12))


@pytest.mark.slow
@pytest.mark.parametrize("links", ["links", "nolinks"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("work", ["file", "undo"])
def test_killed_between_any_two_lines_nothing_is_lost_or_doubled(work, mode, links):
    if links == "nolinks" and mode in ("hardlink", "symlink"):
        pytest.skip("nothing is copied there")
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        script = Path(__file__).with_name("killing.py")
        command = [sys.executable, script, work, f"{folder}/case", mode, links]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 50


@pytest.mark.slow
def test_a_moved_file_keeps_its_history(tmp_path):
    from drawing import draw

    settings = {"sinks": [{"name": "sort", "folder": "sorted", "mode": "move"}]}
    with running_daemon(tmp_path, settings) as daemon:
        draw(daemon.inbox / "a.png", 3)
        target = tmp_path / "sorted" / "band-3" / "a.png"
        until(target.exists)
        removed = "SELECT state, label FROM file WHERE removed_at IS NOT NULL"
        until(lambda: daemon.query(removed) == [("done", "band-3")])
        assert "a.png" in daemon.run("results").stdout
        assert daemon.run("sort", "undo").stdout == "1 file moved back\n"
        until(lambda: daemon.query(removed) == [])
        assert (daemon.inbox / "a.png").exists() and not target.exists()
        assert daemon.query("SELECT count(*) FROM file") == [(1,)]
