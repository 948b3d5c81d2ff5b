"""The state machine of the inbox: what each sighting means for the newest row of its path."""

import pytest

from daemon.domain import FileStat, FileState, Sighting
from daemon.transitions import RULE, Known, Step, first_state, step

SAME, OTHER = FileStat(10, 1, 7), FileStat(11, 2, 7)
UNREAD = ("settling", "queued", "claimed", "retry", "gone")
READ = ("done", "quarantined", "ignored")


def known(state: str, reason: str | None = None, removed: bool = False) -> Known:
    return Known(1, SAME, FileState(state), reason, removed)


def seen(stat: FileStat = SAME, ignored: str | None = None) -> Sighting:
    return Sighting(b"a", stat, ignored=ignored)


def test_a_path_never_seen_gets_a_row():
    assert step(None, seen(), whole=False) is Step.INSERT


@pytest.mark.parametrize("state", UNREAD)
def test_another_version_takes_the_row_of_one_that_was_never_read(state):
    assert step(known(state), seen(OTHER), whole=False) is Step.REVISE


@pytest.mark.parametrize("state", READ)
@pytest.mark.parametrize("removed", [False, True])
def test_another_version_of_what_was_read_gets_a_row_of_its_own(state, removed):
    assert step(known(state, "why", removed), seen(OTHER), whole=True) is Step.SUPERSEDE


@pytest.mark.parametrize("state", sorted({*UNREAD, *READ} - {"gone", "settling"}))
@pytest.mark.parametrize("whole", [False, True])
def test_an_unchanged_file_changes_nothing(state, whole):
    assert step(known(state), seen(), whole) is Step.NOTHING


@pytest.mark.parametrize("state", READ)
def test_an_unchanged_file_that_is_there_again_is_no_longer_removed(state):
    assert step(known(state, removed=True), seen(), whole=False) is Step.RETURN


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_gone_before_it_was_read_is_queued_when_it_is_there_again(whole):
    assert step(known("gone", removed=True), seen(), whole) is Step.REVISE


def test_word_that_the_writer_has_finished_ends_the_settling():
    assert step(known("settling"), seen(), whole=True) is Step.REVISE
    assert step(known("settling"), seen(), whole=False) is Step.NOTHING


@pytest.mark.parametrize("state", ["settling", "queued", "retry"])
def test_a_new_rule_keeps_out_what_waits(state):
    assert step(known(state), seen(ignored="*.tmp"), whole=False) is Step.REVISE


@pytest.mark.parametrize("state", ["claimed", "done", "quarantined"])
def test_a_new_rule_leaves_alone_what_was_read(state):
    assert step(known(state), seen(ignored="*.tmp"), whole=False) is Step.NOTHING


def test_a_dropped_rule_lets_in_what_it_kept_out():
    row = known("ignored", RULE + "*.tmp")
    assert step(row, seen(), whole=False) is Step.REVISE
    assert step(row, seen(ignored="*.tmp"), whole=False) is Step.NOTHING
    assert step(row, seen(OTHER, ignored="*.tmp"), whole=False) is Step.REVISE


def test_what_was_ignored_for_its_content_is_not_read_again_unchanged():
    assert step(known("ignored", "PDF document"), seen(), whole=True) is Step.NOTHING


def test_the_state_that_a_row_takes():
    assert first_state(seen(), whole=False) == ("settling", None)
    assert first_state(seen(), whole=True) == ("queued", None)
    assert first_state(seen(ignored="*.tmp"), whole=True) == ("ignored", "rule: *.tmp")
