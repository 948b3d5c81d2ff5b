"""The folder source on real files, with an intake that keeps what an inbox would know."""

import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

from daemon.domain import FileStat, Sighting
from plugins.sources._hints import Hint, Hints
from plugins.sources._root import file_system, is_remote
from plugins.sources._rules import Rules
from plugins.sources._walk import Tree, Walk
from plugins.sources._watch import InotifyWatch
from plugins.sources.folder import FolderOptions, FolderSource

DEADLINE_S = 10.0


class Recorder:
    """Knows what is there, what was seen whole, and every alarm and way of watching."""

    def __init__(self) -> None:
        self.there: dict[bytes, Sighting] = {}
        self.whole: list[bytes] = []
        self.alarms: list[str | None] = []
        self.ways: list[str] = []
        self.listings: list[bool] = []
        self.largest_chunk = 0
        self.note: str | None = None
        self._changed = threading.Condition(threading.RLock())

    def found(self, sightings: Sequence[Sighting]) -> None:
        with self._changed:
            self.largest_chunk = max(self.largest_chunk, len(sightings))
            for one in sightings:
                self.there[one.path] = one
                if one.whole:
                    self.whole.append(one.path)
            self._changed.notify_all()

    def missing(self, paths: Sequence[bytes]) -> None:
        with self._changed:
            for path in paths:
                self.there.pop(path, None)
            self._changed.notify_all()

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        seen: set[bytes] = set()
        for chunk in sightings:
            self.found(chunk)
            seen.update(one.path for one in chunk)
        whole_walk = complete()
        with self._changed:
            if whole_walk:
                self.missing([path for path in self.there if path not in seen])
            self.listings.append(whole_walk)
            self._changed.notify_all()

    def remember(self, note: str) -> None:
        self.note = note

    def recall(self) -> str | None:
        return self.note

    def alarm(self, message: str | None) -> None:
        with self._changed:
            self.alarms.append(message)
            self._changed.notify_all()

    def watching(self, how: str) -> None:
        with self._changed:
            self.ways.append(how)
            self._changed.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE_S), (
                f"there: {sorted(self.there)[:20]}, alarms: {self.alarms}, ways: {self.ways}"
            )

    def sees(self, *paths: Path) -> bool:
        return all(os.fsencode(path) in self.there for path in paths)

    def wanted(self) -> set[bytes]:
        with self._changed:
            return {path for path, one in self.there.items() if one.ignored is None}

    def reason(self, path: Path) -> str | None:
        return self.there[os.fsencode(path)].ignored


def source(root: Path, **options: object) -> FolderSource:
    return FolderSource(FolderOptions.model_validate({"path": root, **options}))


def scan(root: Path, **options: object) -> Recorder:
    recorder = Recorder()
    source(root, **options).scan(recorder)
    return recorder


@contextmanager
def running(root: Path, **options: object):
    """Run the source in a thread, past its first listing; an exception in it fails the test."""
    recorder, stop, failed = Recorder(), threading.Event(), []

    def run() -> None:
        try:
            source(root, **options).run(recorder, stop)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        recorder.until(lambda: recorder.listings or recorder.alarms[-1:] not in ([], [None]))
        yield recorder
    finally:
        stop.set()
        asked = time.monotonic()
        thread.join(DEADLINE_S)
        assert not failed
        assert time.monotonic() - asked < 1.0


def put(path: Path, content: bytes = b"image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- one listing ---------------------------------------------------------------------------


def test_a_listing_finds_every_file_with_what_tells_its_version(tmp_path):
    files = [put(tmp_path / "a.jpg", b"12345"), put(tmp_path / "x/y/z/b.jpg")]
    recorder = scan(tmp_path)
    assert recorder.wanted() == {os.fsencode(path) for path in files}
    assert recorder.there[os.fsencode(files[0])].stat == FileStat.of(files[0].stat())
    assert recorder.whole == [] and recorder.listings == [True]


def test_a_listing_comes_in_chunks(tmp_path):
    for number in range(1_201):
        put(tmp_path / f"{number}.jpg", b"")
    recorder = scan(tmp_path)
    assert len(recorder.wanted()) == 1_201
    assert recorder.largest_chunk == 500


def test_folders_inside_are_left_out_on_request(tmp_path):
    files = [put(tmp_path / "a.jpg"), put(tmp_path / "x/b.jpg")]
    assert scan(tmp_path, recursive=False).wanted() == {os.fsencode(files[0])}


def test_names_of_any_bytes_keep_their_identity(tmp_path):
    names = [b"caf\xe9.jpg", b"two\nlines.jpg", b" .jpg", "東京.jpg".encode(), b"-rf", b"a" * 255]
    paths = [put(tmp_path / os.fsdecode(name)) for name in names]
    expected = {os.fsencode(tmp_path) + b"/" + name for name in names}
    assert expected == {os.fsencode(path) for path in paths}
    assert scan(tmp_path).wanted() == expected


def test_an_empty_folder_where_another_was_before_the_restart_is_an_alarm(tmp_path):
    put(tmp_path / "photos/a.jpg")
    before = scan(tmp_path / "photos")
    with running(tmp_path / "photos") as recorder:
        recorder.until(lambda: recorder.note is not None)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    (tmp_path / "photos").mkdir()
    after = Recorder()
    after.note = recorder.note
    FolderSource(FolderOptions(path=tmp_path / "photos")).scan(after)
    assert before.alarms == [None]
    assert "mount" in (after.alarms[-1] or "")
    assert after.listings == []


def test_symbolic_links_are_not_followed(tmp_path):
    root, outside = tmp_path / "in", tmp_path / "out"
    inside = put(root / "real/a.jpg")
    put(outside / "secret.jpg")
    links = {
        "file.jpg": outside / "secret.jpg",
        "folder": outside,
        "loop": root,
        "sibling": root / "real",
        "self": root / "self",
        "nothing": root / "no such",
        "same.jpg": inside,
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    recorder = scan(root)
    assert recorder.wanted() == {os.fsencode(inside)}
    for name in links:
        assert (recorder.reason(root / name) or "").startswith("symbolic link")


def test_a_root_that_is_a_symbolic_link_is_followed_and_keeps_its_name(tmp_path):
    put(tmp_path / "real/a.jpg")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    with running(link) as recorder:
        assert recorder.sees(link / "a.jpg")
        put(tmp_path / "real/b.jpg")
        recorder.until(lambda: os.fsencode(link / "b.jpg") in recorder.whole)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.jpg"))
        recorder = scan(tmp_path)
    assert recorder.reason(tmp_path / "pipe.jpg") == "named pipe, not a file"
    assert recorder.reason(tmp_path / "s.jpg") == "socket, not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_cannot_be_read_lets_nothing_be_judged_missing(tmp_path, caplog):
    put(tmp_path / "closed/a.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        assert scan(tmp_path).listings == [False]
    finally:
        (tmp_path / "closed").chmod(0o700)


def place(folder: int | bytes) -> Path:
    """Where a folder is that is given as descriptor or path."""
    return Path(
        os.fsdecode(folder) if isinstance(folder, bytes) else f"/proc/self/fd/{folder}"
    ).resolve()


def test_an_unreadable_folder_that_appears_is_told_at_once(tmp_path, monkeypatch, caplog):
    real = os.scandir

    def refusing(path):
        if place(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with running(tmp_path, rescan="1h") as recorder:
        recorder.until(lambda: recorder.ways)
        (tmp_path / "closed").mkdir()
        put(tmp_path / "later.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "later.jpg"))
        put(tmp_path / "last.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "last.jpg"))
    assert f"{tmp_path}/closed cannot be read" in caplog.text


def test_an_unreadable_folder_is_told_for_status_until_it_can_be_read(tmp_path, monkeypatch):
    closed, real = {tmp_path / "a", tmp_path / "b"}, os.scandir

    def refusing(path):
        if place(path) in closed:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for folder in ("a", "b"):
        put(tmp_path / folder / "a.jpg")
    with running(tmp_path, watch="polling", poll_every="0.1s") as recorder:
        way = "polling every 0.1 s: as configured"
        blind = "cannot be read: no deletion is noticed"
        recorder.until(lambda: recorder.ways[-1] == f"{way}; {tmp_path}/a and 1 more {blind}")
        closed.remove(tmp_path / "a")
        recorder.until(lambda: recorder.ways[-1] == f"{way}; {tmp_path}/b {blind}")
        closed.clear()
        recorder.until(lambda: recorder.ways[-1] == way and recorder.sees(tmp_path / "b/a.jpg"))
    assert set(recorder.alarms) == {None}


# --- which names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("photo.jpg", None),
        ("photo.JPG.part", "temporary name *.part"),
        ("photo.jpg.CRDOWNLOAD", "temporary name *.crdownload"),
        ("photo.download", "temporary name *.download"),
        ("photo.opdownload", "temporary name *.opdownload"),
        (".syncthing.photo.jpg.tmp", "temporary name *.tmp"),
        ("~syncthing~photo.jpg", "temporary name ~syncthing~*"),
        ("photo.jpg.!sync", "temporary name *.!sync"),
        (".~lock.photo.odt#", "temporary name .~lock.*#"),
        (".photo.jpg.Xy12zA", "temporary name .*.[0-9a-z]"),
        (".photo.jpg.~3f2a", "temporary name .*.~*"),
        ("photo.filepart", "temporary name *.filepart"),
        ("photo.jpg.aria2", "temporary name *.aria2"),
        ("photo.jpg~", "temporary name *~"),
        (".#photo", "temporary name .#*"),
        ("#photo#", "temporary name #*#"),
        (".photo.jpg.swp", "temporary name *.swp"),
        ("4913", "temporary name 4913"),
        ("thumbs.db", "temporary name Thumbs.db"),
        ("._photo.jpg", "temporary name ._*"),
        (".hidden.jpg", "hidden file"),
        ("part", None),
        ("tmp.jpg", None),
    ],
)
def test_unfinished_and_hidden_files_are_kept_out_with_the_rule(name, reason):
    found = Rules().keeps_out(b"some/" + name.encode())
    assert found == reason or (reason and found and found.startswith(reason))


def test_temporary_names_can_be_let_in():
    assert Rules(temporary_names=False).keeps_out(b"a.tmp") is None
    assert Rules(temporary_names=False).keeps_out(b".a.tmp") == "hidden file"


@pytest.mark.parametrize(
    "folder", [".git", ".Trash-1000", "@eaDir", ".stfolder", "lost+found", "$Recycle.bin"]
)
def test_clutter_folders_are_not_walked(tmp_path, folder):
    put(tmp_path / folder / "deep/a.jpg")
    assert scan(tmp_path).there == {}


def test_include_and_ignore_patterns(tmp_path):
    for name in ("a.JPG", "b.png", "c.txt", "raw/d.jpg", "x/raw/e.jpg", "x/y/f.jpg", "x/f.jpg"):
        put(tmp_path / name)
    options = {"include": ["*.jpg", "*.png"], "ignore": ["raw", "x/**/f.jpg"]}
    recorder = scan(tmp_path, **options)
    assert recorder.wanted() == {os.fsencode(tmp_path / name) for name in ("a.JPG", "b.png")}
    assert recorder.reason(tmp_path / "c.txt") == "no include pattern matches"
    assert recorder.reason(tmp_path / "x/y/f.jpg") == "ignore pattern x/**/f.jpg"
    assert not recorder.sees(tmp_path / "raw/d.jpg")


def test_events_obey_the_same_rules(tmp_path):
    with running(tmp_path, ignore=["raw"]) as recorder:
        for name in (".git/a.jpg", "raw/b.jpg", "raw/deep/c.jpg"):
            put(tmp_path / name)
        put(tmp_path / "d.jpg.part")
        put(tmp_path / "e.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "d.jpg.part", tmp_path / "e.jpg"))
        assert len(recorder.there) == 2
        assert recorder.reason(tmp_path / "d.jpg.part") == "temporary name *.part"


# --- events --------------------------------------------------------------------------------


def test_a_file_is_whole_when_its_writer_closes_it_not_before(tmp_path):
    path = tmp_path / "slow.jpg"
    with running(tmp_path) as recorder:
        with path.open("wb", buffering=0) as file:
            file.write(b"first")
            recorder.until(lambda: recorder.sees(path))
            for _ in range(20):
                file.write(b"more")
            put(tmp_path / "marker.jpg")
            recorder.until(lambda: os.fsencode(tmp_path / "marker.jpg") in recorder.whole)
            assert os.fsencode(path) not in recorder.whole
        recorder.until(lambda: os.fsencode(path) in recorder.whole)
        assert recorder.there[os.fsencode(path)].stat.size == 85


def test_a_file_renamed_into_place_is_whole(tmp_path):
    root = tmp_path / "in"
    with running(root) as recorder:
        put(tmp_path / "elsewhere.jpg").rename(root / "a.jpg")
        recorder.until(lambda: os.fsencode(root / "a.jpg") in recorder.whole)
        put(root / ".b.part").rename(root / "b.jpg")
        recorder.until(lambda: os.fsencode(root / "b.jpg") in recorder.whole)
        recorder.until(lambda: not recorder.sees(root / ".b.part"))


def test_a_hard_link_is_seen(tmp_path):
    root = tmp_path / "in"
    with running(root) as recorder:
        (root / "a.jpg").hardlink_to(put(tmp_path / "a.jpg"))
        recorder.until(lambda: recorder.sees(root / "a.jpg"))


def test_overwritten_renamed_and_deleted(tmp_path):
    path = put(tmp_path / "a.jpg")
    with running(tmp_path) as recorder:
        put(path, b"another image")
        recorder.until(lambda: recorder.there[os.fsencode(path)].stat.size == 13)
        path.rename(tmp_path / "b.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "b.jpg") and not recorder.sees(path))
        (tmp_path / "b.jpg").unlink()
        recorder.until(lambda: not recorder.there)


def test_the_files_of_a_folder_moved_in_are_whole_as_is_a_file_moved_in(tmp_path):
    root, files = tmp_path / "in", [Path("deep", f"{number}.jpg") for number in range(50)]
    for file in files:
        put(tmp_path / "new" / file)
    with running(root) as recorder:
        (tmp_path / "new").rename(root / "new")
        moved = {os.fsencode(root / "new" / file) for file in files}
        recorder.until(lambda: moved <= set(recorder.whole))
        put(root / "new/deep/later.jpg")
        recorder.until(lambda: os.fsencode(root / "new/deep/later.jpg") in recorder.whole)


def test_nested_folders_created_and_filled_at_once(tmp_path):
    with running(tmp_path) as recorder:
        files = [put(tmp_path / f"a/{n}/b/{n}/c/{n}.jpg") for n in range(30)]
        recorder.until(lambda: recorder.sees(*files))


def test_a_folder_renamed_inside_moves_its_files(tmp_path):
    for number in range(5):
        put(tmp_path / f"old/deep/{number}.jpg")
    with running(tmp_path) as recorder:
        (tmp_path / "old").rename(tmp_path / "new")
        moved = {os.fsencode(tmp_path / f"new/deep/{number}.jpg") for number in range(5)}
        recorder.until(lambda: recorder.wanted() == moved)


def test_a_folder_moved_out_takes_its_files_along(tmp_path):
    root = tmp_path / "in"
    put(root / "sub/deep/a.jpg")
    kept = put(root / "b.jpg")
    with running(root) as recorder:
        (root / "sub").rename(tmp_path / "sub")
        recorder.until(lambda: recorder.wanted() == {os.fsencode(kept)})
        put(tmp_path / "sub/deep/c.jpg")
        put(root / "sub/d.jpg")
        recorder.until(lambda: recorder.sees(root / "sub/d.jpg"))
        assert not recorder.sees(root / "sub/deep/c.jpg")


def test_a_symbolic_link_to_a_folder_that_comes_is_not_followed(tmp_path):
    root = tmp_path / "in"
    put(tmp_path / "out/a.jpg")
    with running(root) as recorder:
        (tmp_path / "new").mkdir()
        (tmp_path / "new/link").symlink_to(tmp_path / "out")
        (tmp_path / "new").rename(root / "new")
        (root / "link").symlink_to(tmp_path / "out")
        recorder.until(lambda: recorder.sees(root / "link", root / "new/link"))
        assert recorder.wanted() == set()
        assert (recorder.reason(root / "link") or "").startswith("symbolic link")


def test_names_of_any_bytes_arrive_by_event(tmp_path):
    with running(tmp_path) as recorder:
        put(tmp_path / os.fsdecode(b"caf\xe9\n.jpg"))
        path = os.fsencode(tmp_path) + b"/caf\xe9\n.jpg"
        recorder.until(lambda: path in recorder.whole)


def test_a_burst_is_complete_after_one_rescan(tmp_path):
    root = tmp_path / "in"
    expected = {os.fsencode(root / f"{number}.jpg") for number in range(2_000)}
    with running(root, rescan="2s") as recorder:
        for number in range(2_000):
            put(root / f".{number}.part").rename(root / f"{number}.jpg")
        recorder.until(lambda: recorder.wanted() == expected)


def test_the_kernel_dropping_events_leads_to_a_listing_at_once(tmp_path, monkeypatch):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("this kernel keeps more events than a quick test can make")
    reading = threading.Event()
    reading.set()
    read_events = InotifyFD.read_events

    def held_up(kernel: InotifyFD) -> list[InotifyEvent]:
        events = read_events(kernel)
        reading.wait(DEADLINE_S)
        return events

    monkeypatch.setattr(InotifyFD, "read_events", held_up)
    one, other = put(tmp_path / ".a"), tmp_path / ".b"
    with running(tmp_path) as recorder:
        reading.clear()
        for _ in range(limit // 3):
            one.rename(other)
            other.rename(one)
        late = put(tmp_path / "new/deep/late.jpg")
        reading.set()
        recorder.until(lambda: recorder.sees(late) and len(recorder.listings) == 2)
        later = put(tmp_path / "new/deep/later.jpg")
        recorder.until(lambda: os.fsencode(later) in recorder.whole)


def test_hints_past_their_limit_are_dropped_and_the_loss_is_known():
    hints = Hints(limit=2)
    for path in (b"a", b"b", b"a"):
        hints.add(path, Hint.LOOK)
    assert not hints.lost
    hints.add(b"c", Hint.WHOLE)
    assert hints.lost and set(hints.take()) == {b"a", b"b"}
    assert not hints.wait(0)


def test_only_what_is_finished_wakes_at_once():
    hints = Hints()
    hints.add(b"created", Hint.LOOK)
    assert not hints.wait(0)
    hints.add(b"closed", Hint.LOOK)
    hints.add(b"closed", Hint.WHOLE)
    assert hints.wait(0) and hints.take(unsure=False) == {b"closed": Hint.WHOLE}
    hints.add(b"moved", Hint.WHOLE)
    hints.add(b"moved", Hint.LOOK)
    assert hints.take() == {b"created": Hint.LOOK, b"moved": Hint.LOOK}


def test_folders_renamed_in_quick_succession_end_up_as_they_are_on_disk(tmp_path):
    root, away = tmp_path / "in", tmp_path / "away"
    put(root / "a/b/c/1.jpg")
    put(root / "d/2.jpg")
    with running(root) as recorder:
        for _ in range(3):
            (root / "a/b").rename(root / "d/b")
            (root / "d").rename(away)
            put(root / "d/3.jpg")
            (root / "d").rename(root / "a/e")
            away.rename(root / "d")
            (root / "d/b").rename(root / "a/b")
            shutil.rmtree(root / "a/e")
        expected = {os.fsencode(root / name) for name in ("a/b/c/1.jpg", "d/2.jpg")}
        recorder.until(lambda: len(recorder.listings) > 1 and recorder.wanted() == expected)
        new = [put(root / "a/b/c/new.jpg"), put(root / "d/new.jpg")]
        recorder.until(lambda: recorder.sees(*new))


def test_the_periodic_rescan_mends_what_no_event_told(tmp_path, monkeypatch):
    with running(tmp_path, rescan="0.5s") as recorder:
        monkeypatch.setattr(InotifyWatch, "on_event", lambda watch, event: None)
        path = put(tmp_path / "a.jpg")
        recorder.until(lambda: recorder.sees(path))
        path.unlink()
        recorder.until(lambda: not recorder.there)


def test_an_idle_source_costs_next_to_nothing(tmp_path):
    for number in range(100):
        put(tmp_path / f"{number % 10}/{number}.jpg")
    with running(tmp_path) as recorder:
        before = time.process_time()
        threading.Event().wait(0.5)
        assert time.process_time() - before < 0.05
        assert len(recorder.listings) == 1


# --- the root ------------------------------------------------------------------------------


def test_a_missing_root_is_made_but_not_its_parents(tmp_path):
    with running(tmp_path / "in") as recorder:
        assert (tmp_path / "in").is_dir()
        assert recorder.alarms == [None]
    recorder = scan(tmp_path / "no/such")
    assert "is gone (No such file or directory)" in str(recorder.alarms[-1])
    scan(tmp_path / "mount", create=False)
    assert not (tmp_path / "mount").exists()


def test_a_root_that_goes_and_comes_back_is_an_alarm_and_no_deletion(tmp_path):
    root, away = tmp_path / "in", tmp_path / "away"
    path = put(root / "a.jpg")
    with running(root) as recorder:
        root.rename(away)
        recorder.until(lambda: "is gone" in str(recorder.alarms[-1]))
        put(away / "b.jpg")
        assert recorder.sees(path)
        away.rename(root)
        recorder.until(lambda: recorder.alarms[-1] is None and recorder.sees(root / "b.jpg"))
        put(root / "c.jpg")
        recorder.until(lambda: os.fsencode(root / "c.jpg") in recorder.whole)
        assert recorder.sees(path) and all(recorder.listings)


def test_a_new_root_in_place_of_a_lost_one_is_taken_as_it_is(tmp_path):
    root = tmp_path / "in"
    path = put(root / "a.jpg")
    with running(root) as recorder:
        root.rename(tmp_path / "away")
        recorder.until(lambda: "is gone" in str(recorder.alarms[-1]))
        assert recorder.sees(path)
        put(root / "new.jpg")
        recorder.until(lambda: recorder.wanted() == {os.fsencode(root / "new.jpg")})
        assert recorder.alarms[-1] is None


def test_another_empty_folder_in_its_place_is_an_unmounted_share(tmp_path):
    root = tmp_path / "in"
    path = put(root / "a.jpg")
    with running(root, watch="polling", poll_every="0.1s") as recorder:
        (tmp_path / "empty").mkdir()
        root.rename(tmp_path / "away")
        (tmp_path / "empty").rename(root)
        recorder.until(lambda: "an empty folder is in its place" in str(recorder.alarms[-1]))
        assert recorder.sees(path)
        root.rename(tmp_path / "empty")
        (tmp_path / "away").rename(root)
        recorder.until(lambda: recorder.alarms[-1] is None)
        assert recorder.sees(path)


def test_a_root_replaced_in_a_moment_is_watched_again(tmp_path):
    root = tmp_path / "in"
    put(root / "a.jpg")
    with running(root) as recorder:
        shutil.rmtree(root)
        put(root / "b.jpg")  # may well get the inode number of the old one
        recorder.until(lambda: recorder.wanted() == {os.fsencode(root / "b.jpg")})
        put(root / "c.jpg")
        recorder.until(lambda: os.fsencode(root / "c.jpg") in recorder.whole)


# --- polling -------------------------------------------------------------------------------


def test_polling_sees_what_comes_changes_and_goes(tmp_path):
    path = tmp_path / "x/a.jpg"
    with running(tmp_path, watch="polling", poll_every="0.1s") as recorder:
        assert recorder.ways == ["polling every 0.1 s: as configured"]
        put(path)
        recorder.until(lambda: recorder.sees(path))
        put(path, b"another image")
        recorder.until(lambda: recorder.there[os.fsencode(path)].stat.size == 13)
        shutil.rmtree(path.parent)
        recorder.until(lambda: not recorder.there)
        assert recorder.whole == []


def out_of_watches(*_: object) -> int:
    ctypes.set_errno(errno.ENOSPC)
    return -1


@pytest.mark.parametrize("granted", [0, 2, 5])
def test_at_the_kernels_limit_the_folder_is_polled(tmp_path, monkeypatch, caplog, granted):
    left = [True] * granted
    add_watch = inotify_c.inotify_add_watch

    def refuse(*arguments: object) -> int:
        if left:
            left.pop()
            return add_watch(*arguments)
        return out_of_watches()

    monkeypatch.setattr(inotify_c, "inotify_add_watch", refuse)
    for number in range(5):
        put(tmp_path / f"{number}/a.jpg")
    with running(tmp_path, poll_every="0.1s") as recorder:
        recorder.until(lambda: recorder.ways)
        assert recorder.ways[-1].startswith("polling every 0.1 s: inotify limit reached")
        assert "max_user_watches" in recorder.ways[-1]
        (told,) = [line for line in caplog.records if "max_user_watches" in line.message]
        assert told.levelname == "WARNING"
        put(tmp_path / "4/late.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "4/late.jpg"))


def test_one_folder_whose_path_is_too_long_costs_the_others_no_watch(tmp_path, monkeypatch):
    add_watch = inotify_c.inotify_add_watch

    def refuse(kernel: int, path: bytes, mask: int) -> int:
        if path.endswith(b"deep"):
            ctypes.set_errno(errno.ENAMETOOLONG)
            return -1
        return add_watch(kernel, path, mask)

    monkeypatch.setattr(inotify_c, "inotify_add_watch", refuse)
    put(tmp_path / "deep/a.jpg")
    put(tmp_path / "other/a.jpg")
    with running(tmp_path, rescan="1h") as recorder:
        recorder.until(lambda: recorder.ways == ["inotify"])
        path = put(tmp_path / "other/late.jpg")
        recorder.until(lambda: recorder.sees(path))


def test_a_new_folder_past_the_kernels_limit_is_polled_too(tmp_path, monkeypatch, caplog):
    with running(tmp_path, poll_every="0.1s") as recorder:
        assert recorder.ways == ["inotify"]
        monkeypatch.setattr(inotify_c, "inotify_add_watch", out_of_watches)
        path = put(tmp_path / "new/a.jpg")
        recorder.until(lambda: recorder.sees(path) and "max_user_watches" in recorder.ways[-1])
        monkeypatch.undo()


def test_no_inotify_instance_left_means_polling(tmp_path, monkeypatch, caplog):
    def refuse() -> int:
        ctypes.set_errno(errno.EMFILE)
        return -1

    monkeypatch.setattr(inotify_c, "inotify_init", refuse)
    with running(tmp_path, poll_every="0.1s") as recorder:
        assert "max_user_instances" in recorder.ways[-1]
        put(tmp_path / "a.jpg")
        recorder.until(lambda: recorder.sees(tmp_path / "a.jpg"))


def test_the_file_system_is_that_of_the_longest_mount_point(tmp_path):
    (tmp_path / "my share/photos").mkdir(parents=True)
    escaped = str(tmp_path / "my share").replace(" ", r"\040")
    mounts = put(
        tmp_path / "mountinfo",
        "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
        f"28 27 0:50 / {escaped} rw shared:1 - autofs systemd-1 rw\n"
        f"29 28 0:51 / {escaped} rw shared:2 master:3 - nfs4 nas:/photos rw\n"
        f"30 27 0:52 / {tmp_path}/my rw - tmpfs tmpfs rw\n".encode(),
    )
    assert file_system(tmp_path / "my share/photos", mounts) == "nfs4"
    assert file_system(tmp_path / "my share", mounts) == "nfs4"
    assert file_system(tmp_path / "other", mounts) == "ext4"
    assert file_system(tmp_path) != "unknown"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "vboxsf", "virtiofs"]
)
def test_file_systems_that_others_change_are_polled(kind):
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "fuseblk", "overlay", "tmpfs", "exfat"])
def test_file_systems_of_this_machine_are_watched(kind):
    assert not is_remote(kind)


# --- options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h", 3600), ("1.5 s", 1.5), (7, 7), ("1d", 86400)]
)
def test_durations_as_people_write_them(text, seconds):
    assert FolderOptions.model_validate({"path": "in", "rescan": text}).rescan == seconds


@pytest.mark.parametrize("text", ["soon", "10 minutes", "-1s", "0s", True, None])
def test_a_wrong_duration_is_refused_with_an_example(text):
    with pytest.raises(ValidationError, match="rescan"):
        FolderOptions.model_validate({"path": "in", "rescan": text})


def test_the_title_is_the_path_as_written(tmp_path):
    options = FolderOptions.model_validate({"path": "in/box"}, context={"base": tmp_path})
    assert FolderSource(options).title == "in/box"
    assert options.path == tmp_path / "in/box"
    assert FolderSource(FolderOptions(path=tmp_path, title="Camera")).title == "Camera"


def test_listing_plugins_does_not_load_watchdog():
    code = "import sys, plugins.sources.folder; sys.exit('watchdog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_folder_holds_what_lies_in_it(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    assert source(tmp_path).holds(tmp_path) and source(tmp_path).holds(inner / "a.png")
    assert not source(inner).holds(tmp_path) and not source(inner).holds(tmp_path / "inner2")
    flat = source(tmp_path, recursive=False)
    assert flat.holds(tmp_path / "a.png") and not flat.holds(inner)
    assert not flat.holds(inner / "a.png")


@pytest.mark.parametrize(
    ("below", "why"),
    [
        ("raw/a.png", "ignore pattern raw"),
        ("raw", "ignore pattern raw"),
        (".hidden/deep", "in a hidden folder"),
        ("@eaDir", "in a folder @eaDir of the system"),
        ("kept", None),
        ("kept/a.png", None),
    ],
)
def test_a_look_at_a_part_tells_what_a_walk_would_not_come_by(tmp_path, below, why):
    for name in ("raw/a.png", ".hidden/deep/a.png", "@eaDir/a.png", "kept/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    recorder = Recorder()
    source(tmp_path, ignore=["raw"]).scan(recorder, [tmp_path / below])
    assert [one.ignored for one in recorder.there.values()] == [why]
    assert not recorder.listings


def test_nothing_is_seen_through_a_link_that_took_a_folders_place(tmp_path):
    tree = Tree(os.fsencode(tmp_path / "root"), Rules())
    put(tmp_path / "outside" / "secret.jpg")
    put(tmp_path / "root" / "a" / "secret.jpg")
    path = os.fsencode(tmp_path / "root" / "a" / "secret.jpg")
    assert tree.sight(path) is not None
    shutil.rmtree(tmp_path / "root" / "a")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside")
    assert tree.sight(path) is None
    assert list(Walk(tree, os.fsencode(tmp_path / "root" / "a")).chunks()) == []
