"""When to train again: one rule for every strategy, over what happened since the last run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LEAST_CLASSES = 2
_AFTER_FAILURE = timedelta(hours=6)
"""What makes a run fail (a full disk, too little memory) seldom passes at once."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a run is due, as `retrain` in the configuration says it."""

    every: str | None = "24h"
    min_new_labels: int = 50
    min_per_class: int = 5
    budget_s: float = 1800.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """What a proposal is made from.

    `now` has a zone. `last_run_at` is when the last run began, however it ended, and `has_failed`
    whether it came to nothing; `changed` counts images labelled otherwise than in the last run
    that did come to something; `labels` counts images with a label, by class.
    """

    now: datetime
    last_run_at: datetime | None
    changed: int
    labels: Mapping[str, int]
    rules: Rules = Rules()
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One training run to be: which strategy with which options, and why; JSON values only.

    Together with the same images it repeats a run: `options` build the strategy again.
    """

    strategy: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    budget_s: float = 1800.0
    seed: int = 0


def due(history: History, every: str | None, min_new_labels: int, min_per_class: int) -> str | None:
    """Say in words why a run is due now; None when it is not, and never when nothing changed.

    `every` is a duration (`30m`, `24h`, `7d`) since the last run, or a cron expression in UTC.
    At least two classes must have `min_per_class` labels; the others wait.
    """
    ready = [name for name, count in history.labels.items() if count >= min_per_class]
    if not history.changed or len(ready) < _LEAST_CLASSES:
        return None
    reason = _reason(history, every, min_new_labels)
    waiting = sorted(set(history.labels) - set(ready))
    if reason is None or not waiting:
        return reason
    missing = ", ".join(f"{name} ({history.labels[name]} of {min_per_class})" for name in waiting)
    return f"{reason}; still too few labels of: {missing}"


def outlook(history: History, every: str | None, min_new_labels: int, min_per_class: int) -> str:
    """Say in words when the next run is due."""
    if reason := due(history, every, min_new_labels, min_per_class):
        return f"due now: {reason}"
    ready = [name for name, count in history.labels.items() if count >= min_per_class]
    if len(ready) < _LEAST_CLASSES:
        there = ", ".join(f"{name} {count}" for name, count in sorted(history.labels.items()))
        return f"when two classes have {min_per_class} labels each (now: {there or 'none'})"
    if not history.changed:
        return "when labels change"
    if history.has_failed and history.last_run_at is not None:
        return f"at {history.last_run_at + _AFTER_FAILURE:%Y-%m-%d %H:%M} UTC, as the last failed"
    more = max(1, min_new_labels - history.changed)
    words = f"when {more} more images are labelled"
    if every is None or history.last_run_at is None:
        return words
    return f"{words}, or at {_next(every, history.last_run_at):%Y-%m-%d %H:%M} UTC"


def propose(strategy: str, options: Mapping[str, Any], history: History) -> Plan | None:
    """Return a plan for this strategy when a run is due by the rules of the history."""
    rules = history.rules
    reason = due(history, rules.every, rules.min_new_labels, rules.min_per_class)
    return (reason and Plan(strategy, reason, dict(options), rules.budget_s, rules.seed)) or None


def read_duration(text: str) -> timedelta | None:
    """Read `30m`, `24h`, `7d` or `2w`, a second at least; None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    return timedelta(seconds=seconds) if seconds >= 1 else None


def read_every(text: str) -> timedelta | str:
    """Read `24h` as a duration, anything else as a cron expression, which is returned as it is.

    Raises `ValueError` for what is neither.
    """
    if (duration := read_duration(text)) is not None:
        return duration
    if not _DURATION.fullmatch(text.strip()) and _is_cron(text):
        return text
    raise ValueError(
        f"{text!r} must be a duration such as 30m, 24h or 7d, or a cron expression of five fields"
        " such as 0 3 * * 1-5"
    )


def _is_cron(text: str) -> bool:
    from croniter import croniter  # takes longer to import than most commands to run

    return bool(croniter.is_valid(text))


def _reason(history: History, every: str | None, min_new_labels: int) -> str | None:
    if history.has_failed and history.last_run_at is not None:
        if history.now < history.last_run_at + _AFTER_FAILURE:
            return None
        return f"{history.changed} labels changed and the last run failed"
    if history.changed >= min_new_labels:
        return f"{history.changed} labels changed, {min_new_labels} start a run"
    if every is None:
        return None
    if history.last_run_at is None:
        return f"{history.changed} labels changed and there was no run yet"
    if history.now >= _next(every, history.last_run_at):
        return f"{history.changed} labels changed and it is time ({every})"
    return None


def _next(every: str, last: datetime) -> datetime:
    from croniter import croniter

    rule = read_every(every)
    if isinstance(rule, timedelta):
        return last + rule
    found: datetime = croniter(rule, last.astimezone(UTC)).get_next(datetime)
    return found
