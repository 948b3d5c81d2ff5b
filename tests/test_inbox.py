"""The durable queue: what sightings make of rows, what a walk proves, who gets which file."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from daemon.domain import FINAL_STATES, FileStat, Sighting
from daemon.listing import Listing
from daemon.store.database import open_engine
from daemon.store.inbox import Inbox

BEFORE, NOW, LATER = (f"2026-05-01T12:00:0{second}.000Z" for second in (0, 1, 2))
STAT, NEWER = FileStat(10, 1, 7), FileStat(11, 2, 7)


@pytest.fixture
def inbox(engine):
    return Inbox(engine, "me")


def seen(path: bytes = b"/in/a", stat: FileStat = STAT, whole: bool = True, **values) -> Sighting:
    return Sighting(path, stat, whole, **values)


def rows(filled, columns: str, where: str = "1") -> list[tuple]:
    return filled.execute(f"SELECT {columns} FROM file WHERE {where} ORDER BY id")


def test_a_new_path_is_a_queued_row_with_all_that_was_seen(inbox, filled):
    assert inbox.sighted("in", [seen()], NOW).fresh == 1
    columns = "source, path, path_bytes, is_current, size, mtime_ns, inode, state, found_at"
    assert rows(filled, columns) == [
        ("in", "/in/a", b"/in/a", 1, 10, 1, 7, "queued", NOW),
    ]


def test_a_file_perhaps_unfinished_is_handed_back_to_settle(inbox, filled):
    sighted = inbox.sighted("in", [seen(b"/a", whole=False), seen(b"/b")], NOW)
    assert [sighting.path for sighting in sighted.settling] == [b"/a"]
    assert rows(filled, "path, state") == [("/a", "settling"), ("/b", "queued")]


def test_the_same_walk_again_writes_nothing_and_still_settles_what_must(inbox, filled):
    walk = [seen(b"/a", whole=False), seen(b"/b")]
    inbox.sighted("in", walk, BEFORE)
    changes = filled.execute("PRAGMA data_version")
    again = inbox.sighted("in", walk, NOW)
    assert filled.execute("PRAGMA data_version") == changes
    assert again.fresh == 0 and [sighting.path for sighting in again.settling] == [b"/a"]


def test_a_burst_about_one_path_is_one_row_with_the_last_values(inbox, filled):
    burst = [seen(stat=FileStat(size, size, 7), whole=False) for size in range(20)]
    assert inbox.sighted("in", [*burst, seen(stat=NEWER)], NOW).fresh == 1
    assert rows(filled, "size, state") == [(NEWER.size, "queued")]


def test_a_change_before_the_reading_takes_the_row(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    assert inbox.sighted("in", [seen(stat=NEWER, whole=False)], NOW).fresh == 0
    assert rows(filled, "size, state, found_at") == [(NEWER.size, "settling", BEFORE)]


def test_a_change_while_claimed_takes_the_row_away_from_the_worker(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    inbox.claim(1, 1, NOW, LATER)
    inbox.sighted("in", [seen(stat=NEWER)], NOW)
    assert rows(filled, "size, state, claimed_by") == [(NEWER.size, "queued", None)]


def test_a_change_after_the_reading_is_a_new_row_beside_the_old(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    filled.execute("UPDATE file SET state = 'done'")
    assert inbox.sighted("in", [seen(stat=NEWER)], NOW).fresh == 1
    assert rows(filled, "size, state, is_current") == [
        (STAT.size, "done", 0),
        (NEWER.size, "queued", 1),
    ]


def test_deleted_and_there_again_unchanged_is_the_same_row(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    filled.execute("UPDATE file SET state = 'done'")
    inbox.missing([b"/in/a"], NOW)
    assert rows(filled, "state, removed_at") == [("done", NOW)]
    assert inbox.sighted("in", [seen(whole=False)], LATER).settling == ()
    assert rows(filled, "state, removed_at") == [("done", None)]


def test_deleted_before_it_was_read_is_gone_and_queued_when_there_again(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    inbox.missing([b"/in/a"], NOW)
    assert rows(filled, "state, reason") == [("gone", "vanished before it was read")]
    inbox.sighted("in", [seen()], LATER)
    assert rows(filled, "state, reason, removed_at") == [("queued", None, None)]


def test_deleted_while_claimed_stays_with_the_worker(inbox, filled):
    inbox.sighted("in", [seen()], BEFORE)
    inbox.claim(1, 1, NOW, LATER)
    inbox.missing([b"/in/a"], NOW)
    assert rows(filled, "state, removed_at") == [("claimed", NOW)]


def test_deletion_of_a_retried_file_ends_its_tries(inbox, filled):
    filled.file("/in/a", "retry", next_try_at=LATER)
    inbox.missing([b"/in/a"], NOW)
    inbox.requeue_due(LATER)
    assert rows(filled, "state") == [("gone",)]


def test_a_rule_keeps_a_file_out_and_says_which(inbox, filled):
    inbox.sighted("in", [seen(ignored="ignore: *.psd")], NOW)
    assert rows(filled, "state, reason") == [("ignored", "rule: ignore: *.psd")]
    inbox.sighted("in", [seen()], LATER)
    assert rows(filled, "state, reason") == [("queued", None)]


def test_names_that_are_no_utf8_keep_their_identity(inbox, filled):
    names = [b"/in/caf\xe9.jpg", b"/in/caf\xe8.jpg", "/in/café.jpg".encode()]
    inbox.sighted("in", [seen(name) for name in names], NOW)
    assert rows(filled, "path") == [("/in/caf\\xe9.jpg",), ("/in/caf\\xe8.jpg",), ("/in/café.jpg",)]
    assert [ref.path for ref in inbox.claim(9, 1, NOW, LATER)] == names
    inbox.missing(names[:1], NOW)
    assert rows(filled, "path_bytes", "removed_at IS NOT NULL") == [(names[0],)]


def test_a_path_has_one_current_row_however_often_it_changes(inbox, filled):
    for version in range(1, 6):
        inbox.sighted("in", [seen(stat=FileStat(version, version, 7))], NOW)
        filled.execute("UPDATE file SET state = 'done' WHERE is_current = 1")
    assert rows(filled, "size", "is_current = 1") == [(5,)]
    assert len(rows(filled, "id")) == 5


# --- what a full walk proves


def walked(inbox: Inbox, *sightings: Sighting, source: str = "in") -> list[bytes]:
    listing = Listing(source, NOW)
    inbox.sighted(source, sightings, NOW, listing)
    return [path for page in inbox.unlisted(listing, page=3) for path in page]


def test_a_walk_tells_which_of_its_own_rows_it_did_not_meet(inbox, filled):
    inbox.sighted("in", [seen(b"/a"), seen(b"/b")], BEFORE)
    inbox.sighted("other", [seen(b"/elsewhere")], BEFORE)
    assert walked(inbox, seen(b"/a"), seen(b"/new")) == [b"/b"]


def test_a_file_that_came_during_the_walk_is_not_judged(inbox):
    listing = Listing("in", NOW)
    inbox.sighted("in", [seen(b"/by event")], LATER)
    assert [path for page in inbox.unlisted(listing) for path in page] == []


def test_what_is_removed_or_gone_already_is_not_told_again(inbox):
    inbox.sighted("in", [seen(b"/a"), seen(b"/b")], BEFORE)
    inbox.missing([b"/a"], BEFORE)
    assert walked(inbox, seen(b"/b")) == []


def test_rows_with_a_next_try_are_neither_passed_over_nor_told_twice(inbox, filled):
    for number in range(10):
        next_try = LATER if number % 3 == 0 else None
        state = "retry" if next_try else "done"
        filled.file(f"/{number}", state, source="in", found_at=BEFORE, next_try_at=next_try)
    assert walked(inbox) == [b"/%d" % number for number in range(10)]


def test_a_superseded_version_is_not_judged(inbox, filled):
    inbox.sighted("in", [seen(b"/a")], BEFORE)
    filled.execute("UPDATE file SET state = 'done'")
    assert walked(inbox, seen(b"/a", NEWER)) == []


# --- who gets which file


def test_files_are_claimed_oldest_first_each_once(inbox, filled):
    inbox.sighted("in", [seen(b"/%d" % number) for number in range(5)], NOW)
    first = inbox.claim(3, 1, NOW, LATER)
    second = inbox.claim(3, 1, NOW, LATER)
    assert [ref.path for ref in (*first, *second)] == [b"/%d" % number for number in range(5)]
    assert inbox.claim(3, 1, NOW, LATER) == ()
    assert set(rows(filled, "state, claimed_by, lease_until")) == {("claimed", "me", LATER)}


def test_claims_of_a_killed_daemon_are_queued_again(inbox, engine, filled):
    inbox.sighted("in", [seen(b"/a"), seen(b"/b"), seen(b"/c")], NOW)
    Inbox(engine, "killed").claim(2, 1, NOW, LATER)
    assert inbox.release_claims(LATER) == 2
    assert len(inbox.claim(9, 1, NOW, LATER)) == 3


def test_a_claim_knows_the_contents_of_its_size_that_this_model_has_answered(inbox, filled):
    for model in ("first", "second"):
        filled.model(model)
    image = filled.image()  # of 1001 bytes
    filled.prediction(image, model="first")
    inbox.sighted("in", [seen(b"/a", FileStat(1001, 1, 1)), seen(b"/b")], NOW)
    same_size, other = inbox.claim(2, 1, NOW, LATER)
    assert same_size.known == {f"{1:064x}"} and other.known == frozenset()
    inbox.release_claims(NOW)
    assert [ref.known for ref in inbox.claim(2, 2, NOW, LATER)] == [frozenset(), frozenset()]


def test_thousands_of_contents_of_one_size_do_not_all_go_with_every_file(inbox, filled):
    """Uncompressed pictures of one camera all have one size."""
    filled.model("first")
    filled.execute("BEGIN")
    for _ in range(5_000):
        filled.prediction(filled.image(), model="first")
    filled.execute("UPDATE image SET size = 10")
    filled.execute("COMMIT")
    inbox.sighted("in", [seen()], NOW)
    (ref,) = inbox.claim(1, 1, NOW, LATER)
    assert f"{5_000:064x}" in ref.known and 1_000 < len(ref.known) < 5_000


def test_a_retried_file_is_queued_when_its_time_has_come(inbox, filled):
    filled.file("/a", "retry", attempts=1, next_try_at=NOW)
    assert inbox.requeue_due(BEFORE) == 0
    assert inbox.requeue_due(NOW) == 1
    assert rows(filled, "state, attempts, next_try_at") == [("queued", 1, None)]


def test_changed_formats_bring_back_what_was_ignored_for_its_content_only(inbox, filled):
    filled.file("/content", "ignored", reason="HEIC image; decode.formats accepts JPEG")
    filled.file("/rule", "ignored", reason="rule: *.tmp")
    filled.file("/deleted", "ignored", reason="HEIC image", removed_at=NOW)
    assert inbox.reexamine_ignored(NOW) == 1
    assert rows(filled, "path", "state = 'queued'") == [("/content",)]


def test_settled_and_revised_touch_only_what_settles(inbox, filled):
    filled.file("/a", "settling", size=1)
    filled.file("/b", "done", size=1)
    inbox.revised([(b"/a", NEWER), (b"/b", NEWER)], NOW)
    inbox.settled([b"/a", b"/b"], NOW)
    assert rows(filled, "path, state, size") == [("/a", "queued", NEWER.size), ("/b", "done", 1)]


def test_unfinished_are_the_paths_that_somebody_still_works_on(inbox, filled):
    filled.file("/a", "done")
    filled.file("/b", "retry", next_try_at=LATER)
    filled.file("/c", "settling")
    paths = [b"/a", b"/b", b"/c", b"/unknown"]
    assert sorted(inbox.unfinished(paths, FINAL_STATES)) == [b"/b", b"/c"]


def test_thousands_of_paths_at_once_are_no_trouble(inbox, filled):
    paths = [b"/%d" % number for number in range(5_000)]
    inbox.sighted("in", [seen(path) for path in paths], NOW)
    inbox.settled(paths, NOW)
    inbox.missing(paths, NOW)
    assert rows(filled, "count(*)", "state = 'gone'") == [(5_000,)]


WRITER = """
import sys
from daemon.domain import FileStat, Sighting
from daemon.store.database import open_engine
from daemon.store.inbox import Inbox
database, name = sys.argv[1:]
inbox = Inbox(open_engine(database), name)
for number in range(150):
    path = f"/{name}/{number}".encode()
    inbox.sighted(name, [Sighting(path, FileStat(1, 1, 1), True)], "2026-05-01T12:00:00.000Z")
    inbox.claim(1, 1, "2026-05-01T12:00:00.000Z", "2026-05-01T12:00:00.000Z")
"""


def test_processes_that_write_at_once_wait_for_each_other_and_share_no_claim(filled):
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, filled.path, name], stderr=subprocess.PIPE
                )
            )
            for name in ("one", "two", "three")
        ]
        told = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert told == ["", "", ""]
    assert rows(filled, "count(*), count(DISTINCT path)") == [(450, 450)]
    assert rows(filled, "count(*)", "state = 'claimed'") == [(450,)]


def test_the_queue_is_asked_through_its_index_alone(inbox, engine, filled, monkeypatch):
    """However many million rows are done, a claim must not read them."""
    asked = []
    engine = open_engine(str(filled.path))
    from sqlalchemy import event

    event.listen(engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    other = Inbox(engine, "me")
    other.queued(32)
    other.claim(32, 1, NOW, LATER)
    other.requeue_due(NOW)
    other.settling(10)
    for statement, values in asked:
        if "file" not in statement or "BEGIN" in statement:
            continue
        plan = filled.execute("EXPLAIN QUERY PLAN " + statement, values)
        scans = [step[3] for step in plan if step[3].startswith("SCAN") and "file" in step[3]]
        assert all("ix_file_waiting" in scan for scan in scans), (statement, scans)
    engine.dispose()


def test_a_row_stays_with_a_source_that_follows_it_and_leaves_one_that_is_no_more(inbox, filled):
    inbox.sighted("old", [seen()], BEFORE)
    inbox.sighted("scan", [seen()], NOW)
    assert rows(filled, "source") == [("old",)]
    inbox.sighted("new", [seen()], NOW)
    assert rows(filled, "source") == [("new",)]
    filled.execute("INSERT INTO source_state (title) VALUES ('new')")
    inbox.sighted("beside", [seen()], LATER)
    assert rows(filled, "source") == [("new",)]


def test_files_to_be_tried_again_are_counted(inbox, filled):
    inbox.sighted("in", [seen(), seen(b"/in/b")], BEFORE)
    filled.execute("UPDATE file SET state = 'retry' WHERE path = '/in/b'")
    assert inbox.retrying() == 1
