"""What a finished batch leaves in the database: one prediction a content, one end a file."""

import pytest

from daemon.clock import utc_text
from daemon.domain import (
    Batch,
    BatchResult,
    FileStat,
    ImageFacts,
    Outcome,
    OutcomeKind,
    Score,
    Sighting,
    Verdict,
)
from daemon.store.inbox import Inbox
from daemon.store.recording import Recorder
from daemon.testing import ManualClock
from daemon.tries import WAITS_S, Tries

NOW, LATER = "2026-05-01T12:00:01.000Z", "2026-05-01T13:00:00.000Z"
STAT = FileStat(10, 1, 7)
A, B = "a" * 64, "b" * 64


@pytest.fixture
def model(filled):
    return filled.model("first")


@pytest.fixture
def inbox(engine):
    return Inbox(engine, "me")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def recorder(engine, clock):
    return Recorder(engine, "me", ("jsonl",), Tries(clock))


@pytest.fixture
def claimed(inbox, model):
    """Return a batch of so many new files, named /0, /1, …"""

    def claim(count: int = 1) -> Batch:
        sightings = [Sighting(b"/%d" % number, STAT, True) for number in range(count)]
        inbox.sighted("in", sightings, NOW)
        return Batch(1, model, inbox.claim(count, model, NOW, LATER))

    return claim


def classified(batch: Batch, slot: int = 0, sha256: str = A, label: str = "cat") -> Outcome:
    facts = ImageFacts(sha256, 10, "JPEG", 4, 3, "2020-02-02T02:02:02", "0" * 16)
    verdict = Verdict(label, 0.9, (Score(label, 0.9), Score("dog", 0.1)))
    file_id = batch.files[slot].file_id
    return Outcome(file_id, OutcomeKind.CLASSIFIED, STAT, sha256, facts, verdict)


def known(batch: Batch, slot: int, sha256: str = A) -> Outcome:
    return Outcome(batch.files[slot].file_id, OutcomeKind.KNOWN, STAT, sha256)


def ended(batch: Batch, kind: str, reason: str | None = "why", slot: int = 0) -> Outcome:
    return Outcome(batch.files[slot].file_id, OutcomeKind(kind), STAT, reason=reason)


def events(filled) -> list[tuple]:
    return filled.execute(
        "SELECT kind, payload ->> 'path', coalesce(payload ->> 'label', payload ->> 'reason')"
        " FROM event ORDER BY id"
    )


def test_a_classified_file_is_done_with_image_prediction_and_event(recorder, claimed, filled):
    batch = claimed()
    recorded = recorder.record(BatchResult(batch, (classified(batch),)), NOW)
    assert recorded.counts == {OutcomeKind.CLASSIFIED: 1}
    assert filled.execute("SELECT * FROM latest_prediction") == [
        ("/0", "cat", 0.9, 0, "first", "2020-02-02T02:02:02", NOW)
    ]
    assert filled.execute("SELECT state, claimed_by, lease_until, label FROM file") == [
        ("done", None, None, "cat")
    ]
    assert filled.execute("SELECT top_k FROM prediction") == [('[["cat", 0.9], ["dog", 0.1]]',)]
    assert events(filled) == [("classified", "/0", "cat")]
    assert filled.execute("SELECT sink, delivered_at FROM delivery") == [("jsonl", None)]


def test_the_same_bytes_twice_in_a_batch_are_one_image_and_one_prediction(
    recorder, claimed, filled
):
    batch = claimed(2)
    recorder.record(BatchResult(batch, (classified(batch), known(batch, 1))), NOW)
    assert filled.execute("SELECT count(*) FROM prediction") == [(1,)]
    assert filled.execute("SELECT path, label FROM latest_prediction ORDER BY path") == [
        ("/0", "cat"),
        ("/1", "cat"),
    ]
    assert len(events(filled)) == 2


def test_two_workers_with_the_same_bytes_leave_the_first_prediction(recorder, claimed, filled):
    batch = claimed(2)
    recorder.record(BatchResult(batch, (classified(batch),)), NOW)
    recorder.record(BatchResult(batch, (classified(batch, 1, label="dog"),)), LATER)
    assert filled.execute("SELECT label, predicted_at FROM prediction") == [("cat", NOW)]
    assert filled.execute("SELECT DISTINCT label FROM latest_prediction") == [("cat",)]


def test_a_file_that_moved_on_while_claimed_is_left_alone(recorder, inbox, claimed, filled):
    batch = claimed(2)
    inbox.sighted("in", [Sighting(b"/0", FileStat(11, 2, 7), True)], NOW)
    result = BatchResult(batch, (classified(batch), classified(batch, 1, B, "dog")))
    assert recorder.record(result, NOW).counts == {OutcomeKind.CLASSIFIED: 1}
    assert filled.execute("SELECT path, state, label FROM file ORDER BY id") == [
        ("/0", "queued", None),
        ("/1", "done", "dog"),
    ]
    assert filled.execute("SELECT sha256 FROM image") == [(B,)]


def test_a_duplicate_keeps_its_answer_when_the_decoded_file_moved_on(
    recorder, inbox, claimed, filled
):
    batch = claimed(2)
    inbox.sighted("in", [Sighting(b"/0", FileStat(11, 2, 7), True)], NOW)
    recorder.record(BatchResult(batch, (classified(batch), known(batch, 1))), NOW)
    assert filled.execute("SELECT path, label FROM latest_prediction") == [("/1", "cat")]
    assert events(filled) == [("classified", "/1", "cat")]


def test_a_batch_of_a_daemon_that_lost_its_claims_changes_nothing(
    recorder, inbox, engine, claimed, filled
):
    batch = claimed()
    inbox.release_claims(NOW)
    Inbox(engine, "another").claim(1, batch.model_version_id, NOW, LATER)
    recorder.record(BatchResult(batch, (classified(batch),)), NOW)
    assert filled.execute("SELECT state, claimed_by FROM file") == [("claimed", "another")]
    assert events(filled) == []


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        ("unreadable", "quarantined", [("failed", "/0", "why")]),
        ("not_image", "ignored", []),
        ("vanished", "gone", []),
    ],
)
def test_what_is_not_classified_ends_with_its_reason(recorder, claimed, filled, kind, state, told):
    batch = claimed()
    recorder.record(BatchResult(batch, (ended(batch, kind),)), NOW)
    assert filled.execute("SELECT state, reason, claimed_by FROM file") == [(state, "why", None)]
    assert events(filled) == told


def test_a_changed_file_settles_again_with_what_was_found(recorder, claimed, filled):
    batch = claimed()
    newer = FileStat(99, 9, 7)
    outcome = Outcome(batch.files[0].file_id, OutcomeKind.CHANGED, newer)
    recorded = recorder.record(BatchResult(batch, (outcome,)), NOW)
    assert recorded.unsettled == ((b"/0", newer),)
    assert filled.execute("SELECT state, size, mtime_ns FROM file") == [("settling", 99, 9)]


def test_an_error_that_may_pass_is_tried_with_growing_waits_then_quarantined(
    recorder, inbox, claimed, clock, filled
):
    batch = claimed()
    waits = []
    for _ in range(len(WAITS_S)):
        began = clock.elapsed()
        recorder.record(BatchResult(batch, (ended(batch, "transient", "disk says no"),)), NOW)
        assert filled.execute("SELECT state, reason FROM file") == [("retry", "disk says no")]
        ((due,),) = filled.execute("SELECT next_try_at FROM file")
        clock.advance(1.0)
        while not inbox.requeue_due(utc_text(clock.now())):
            clock.advance(1.0)
        assert utc_text(clock.now()) >= due
        waits.append(clock.elapsed() - began)
        inbox.claim(1, batch.model_version_id, NOW, LATER)
    assert waits == sorted(waits) and waits[0] < waits[-1]
    assert events(filled) == []
    recorder.record(BatchResult(batch, (ended(batch, "transient", "disk says no"),)), NOW)
    assert filled.execute("SELECT state, attempts, next_try_at FROM file") == [
        ("quarantined", len(WAITS_S) + 1, None)
    ]
    assert events(filled) == [("failed", "/0", "disk says no")]


def test_classifying_again_adds_a_prediction_and_moves_no_state(recorder, claimed, filled):
    batch = claimed(2)
    recorder.record(BatchResult(batch, (classified(batch), known(batch, 1))), NOW)
    second = filled.model("second")
    again = Batch(2, second, batch.files[:1], moves_state=False)
    recorder.record(BatchResult(again, (classified(batch, label="dog"),)), LATER)
    assert filled.execute("SELECT label FROM prediction ORDER BY id") == [("cat",), ("dog",)]
    view = "SELECT path, label, model_version, classified_at FROM latest_prediction ORDER BY path"
    assert filled.execute(view) == [
        ("/0", "dog", "second", LATER),
        ("/1", "dog", "second", LATER),  # the same content
    ]
    assert filled.execute("SELECT DISTINCT state, state_at FROM file") == [("done", NOW)]


def test_a_failure_while_classifying_again_leaves_the_old_answer(recorder, claimed, filled):
    batch = claimed()
    recorder.record(BatchResult(batch, (classified(batch),)), NOW)
    again = Batch(2, filled.model("second"), batch.files, moves_state=False)
    recorder.record(BatchResult(again, (ended(batch, "unreadable"),)), LATER)
    assert filled.execute("SELECT state, label FROM file") == [("done", "cat")]
    assert [kind for kind, *_ in events(filled)] == ["classified"]


def test_without_sinks_no_event_is_kept(engine, clock, claimed, filled):
    batch = claimed()
    recorder = Recorder(engine, "me", (), Tries(clock))
    recorder.record(BatchResult(batch, (classified(batch),)), NOW)
    assert events(filled) == []
