"""When a file counts as whole: the tracker by itself, and with the inbox behind it."""

import pytest

from daemon.arrivals import Arrivals
from daemon.domain import FileStat, Sighting
from daemon.settle import Settled, Tracker, settles_at_once
from daemon.store.inbox import Inbox
from daemon.testing import ManualClock

QUIET = 2.0


class Disk:
    """Files as a table, so that a test can move time without waiting."""

    def __init__(self) -> None:
        self.files: dict[bytes, FileStat] = {}

    def put(self, path: bytes, size: int = 10, mtime_ns: int = 1) -> FileStat:
        self.files[path] = FileStat(size, mtime_ns, 7)
        return self.files[path]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def tracker():
    return Tracker()


def look(tracker: Tracker, disk: Disk, now: float, most: int = 500) -> Settled:
    """Look, and record what was seen, as the daemon does."""
    seen = tracker.look(now, disk.files.get, most)
    tracker.forget([*seen.whole, *seen.vanished])
    return seen


def test_two_equal_looks_a_quiet_time_apart_make_a_file_whole(tracker, disk):
    tracker.watch(b"a", disk.put(b"a"), 0.0, QUIET)
    assert look(tracker, disk, 1.9).whole == ()
    assert look(tracker, disk, 2.0).whole == (b"a",)
    assert len(tracker) == 0 and tracker.next_look() is None


def test_a_slow_writer_is_waited_for_through_every_pause(tracker, disk):
    tracker.watch(b"a", disk.put(b"a", 0), 0.0, QUIET)
    for second in range(2, 40, 2):
        stat = disk.put(b"a", size=second * 100, mtime_ns=second)
        assert look(tracker, disk, float(second)) == Settled((), ((b"a", stat),), ())
    assert look(tracker, disk, 40.0).whole == (b"a",)


def test_news_of_a_growing_file_starts_the_quiet_time_anew(tracker, disk):
    tracker.watch(b"a", disk.put(b"a", 1), 0.0, QUIET)
    tracker.watch(b"a", disk.put(b"a", 2), 1.5, QUIET)
    assert tracker.next_look() == 3.5
    assert look(tracker, disk, 3.0) == Settled((), (), ())
    assert look(tracker, disk, 3.5).whole == (b"a",)


def test_news_of_an_unchanged_file_starts_nothing_anew(tracker, disk):
    stat = disk.put(b"a")
    tracker.watch(b"a", stat, 0.0, QUIET)
    tracker.watch(b"a", stat, 1.9, QUIET)
    assert look(tracker, disk, 2.0).whole == (b"a",)


def test_a_kept_old_modification_time_does_not_make_a_copy_whole(tracker, disk):
    tracker.watch(b"a", disk.put(b"a", 100, mtime_ns=5), 0.0, QUIET)
    disk.put(b"a", 200, mtime_ns=5)
    assert look(tracker, disk, 2.0).whole == ()


def test_a_replaced_file_of_same_size_and_time_is_noticed(tracker, disk):
    tracker.watch(b"a", disk.put(b"a"), 0.0, QUIET)
    disk.files[b"a"] = FileStat(10, 1, inode=8)
    assert [path for path, _ in look(tracker, disk, 2.0).changed] == [b"a"]


def test_a_vanished_file_is_told_once(tracker, disk):
    tracker.watch(b"a", disk.put(b"a"), 0.0, QUIET)
    del disk.files[b"a"]
    assert look(tracker, disk, 2.0).vanished == (b"a",)
    assert look(tracker, disk, 9.0) == Settled((), (), ())


def test_quiet_times_of_different_sources_do_not_hold_each_other_up(tracker, disk):
    tracker.watch(b"slow", disk.put(b"slow"), 0.0, 30.0)
    tracker.watch(b"quick", disk.put(b"quick"), 0.5, 0.5)
    assert tracker.next_look() == 1.0
    assert look(tracker, disk, 1.0).whole == (b"quick",)
    assert tracker.next_look() == 30.0


def test_many_files_settle_in_the_order_in_which_they_came(tracker, disk):
    paths = [b"%05d" % number for number in range(1200)]
    for number, path in enumerate(paths):
        tracker.watch(path, disk.put(path), number / 1000, QUIET)
    assert look(tracker, disk, 2.5).whole == tuple(paths[:500])
    assert look(tracker, disk, 10.0).whole == tuple(paths[500:1000])
    assert look(tracker, disk, 10.0).whole == tuple(paths[1000:])


def test_a_file_forgotten_meanwhile_is_not_looked_at(tracker, disk):
    tracker.watch(b"a", disk.put(b"a"), 0.0, QUIET)
    tracker.forget([b"a", b"never seen"])
    assert look(tracker, disk, 5.0) == Settled((), (), ())


@pytest.mark.parametrize(
    ("whole", "size", "at_once"), [(True, 1, True), (True, 0, False), (False, 1, False)]
)
def test_only_a_closed_file_with_content_needs_no_second_look(whole, size, at_once):
    assert settles_at_once(Sighting(b"a", FileStat(size, 1, 1), whole)) is at_once


# --- with the inbox behind it


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def arrivals(engine, clock, disk):
    return Arrivals(Inbox(engine, "me"), clock, disk.files.get)


def states(filled) -> dict[str, str]:
    return dict(filled.execute("SELECT path, state FROM file WHERE is_current = 1"))


def test_a_file_is_queued_once_quiet_and_its_row_keeps_what_was_seen_last(
    arrivals, clock, disk, filled
):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a", 1))])
    disk.put(b"/a", 2, mtime_ns=2)
    for _ in range(2):
        clock.advance(QUIET)
        arrivals.settle()
    assert filled.execute("SELECT state, size, mtime_ns FROM file") == [("queued", 2, 2)]


def test_an_empty_file_waits_even_when_it_was_closed(arrivals, clock, disk, filled):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a", 0), whole=True)])
    assert states(filled) == {"/a": "settling"} and arrivals.unsettled == 1
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a", 5), whole=True)])
    assert states(filled) == {"/a": "queued"} and arrivals.unsettled == 0


def test_a_file_that_vanishes_before_it_settles_is_gone(arrivals, clock, disk, filled):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a"))])
    disk.files.clear()
    clock.advance(QUIET)
    arrivals.settle()
    assert filled.execute("SELECT state, reason FROM file") == [
        ("gone", "vanished before it was read")
    ]


def test_settling_goes_on_after_a_restart(arrivals, engine, clock, disk, filled):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a"))])
    later = Arrivals(Inbox(engine, "me"), clock, disk.files.get)
    later.resume()
    clock.advance(QUIET)
    later.settle()
    assert states(filled) == {"/a": "queued"}


def test_news_of_deletion_is_not_believed_while_the_file_is_there(arrivals, disk, filled):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a"), whole=True)])
    arrivals.missing([b"/a"])
    assert states(filled) == {"/a": "queued"}


def test_a_file_kept_out_while_it_settles_is_watched_no_more(arrivals, disk, filled):
    arrivals.found("in", [Sighting(b"/a", disk.put(b"/a"))])
    arrivals.found("in", [Sighting(b"/a", disk.files[b"/a"], ignored="temporary name")])
    assert arrivals.unsettled == 0
    assert states(filled) == {"/a": "ignored"}
