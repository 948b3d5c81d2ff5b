"""A run is due by time or by number of labels, and never when nothing changed."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.learning.schedule import History, Rules, due, propose, read_every

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)  # a Monday
ENOUGH = {"cat": 9, "dog": 9}


def history(changed=10, hours=48, labels=ENOUGH, rules=Rules()):  # noqa: B008
    last = None if hours is None else NOW - timedelta(hours=hours)
    return History(NOW, last, changed, labels, rules)


@pytest.mark.parametrize("every", ["1s", "24h", "* * * * *", None])
def test_never_when_nothing_changed(every):
    assert due(history(changed=0, hours=9999), every, 1, 1) is None
    assert due(history(changed=0, hours=None), every, 1, 1) is None


@pytest.mark.parametrize(
    ("every", "hours", "is_due"),
    [
        ("24h", 23, False),
        ("24h", 24, True),
        ("7d", 24, False),
        ("90m", 2, True),
        ("0 3 * * 1-5", 8, False),  # since 04:00 today there was no 03:00
        ("0 3 * * 1-5", 10, True),
        ("0 3 * * 6", 40, False),
        (None, 9999, False),
        ("24h", None, True),
        (None, None, False),
    ],
)
def test_time(every, hours, is_due):
    assert bool(due(history(hours=hours), every, 50, 5)) is is_due


def test_enough_new_labels_need_not_wait():
    assert due(history(changed=49, hours=1), "24h", 50, 5) is None
    assert "50 labels changed" in due(history(changed=50, hours=1), "24h", 50, 5)
    assert due(history(changed=50, hours=None), None, 50, 5)


def test_two_classes_must_be_ready_and_the_others_wait_by_name():
    assert due(history(labels={"cat": 9, "dog": 4}), "24h", 50, 5) is None
    reason = due(history(labels={**ENOUGH, "owl": 2}), "24h", 50, 5)
    assert reason.endswith("still too few labels of: owl (2 of 5)")


@pytest.mark.parametrize("text", ["", "daily", "24", "0h", "61 * * * *", "* * *"])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match="must be a duration such as 30m"):
        read_every(text)


def test_a_plan_has_what_repeats_it():
    plan = propose("probe", {"folds": 3}, history(rules=Rules(budget_s=60, seed=4)))
    assert (plan.strategy, plan.options, plan.budget_s, plan.seed) == ("probe", {"folds": 3}, 60, 4)
    assert propose("probe", {}, history(changed=0)) is None
