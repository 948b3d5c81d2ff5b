"""What an outcome makes of its file's row: the other half of the inbox's state machine."""

from typing import Any, Protocol

from daemon.domain import FileState, Outcome, OutcomeKind

Change = dict[str, Any]

_FINAL = {
    OutcomeKind.NOT_IMAGE: FileState.IGNORED,
    OutcomeKind.VANISHED: FileState.GONE,
}


class Again(Protocol):
    """Decides whether a file that failed for a reason that may pass is tried again."""

    def next_try_at(self, attempts: int) -> str | None:
        """Return when, after so many attempts; None: it has had its tries."""


def change_of(
    outcome: Outcome, attempts: int, image_id: int | None, prediction: Any, again: Again, now: str
) -> Change:
    """Return the new values of a claimed row; `prediction` is that of its image, if any."""
    return {
        "b_id": outcome.file_id,
        "state_at": now,
        "reason": outcome.reason,
        "claimed_by": None,
        "lease_until": None,
        "next_try_at": None,
        "image_id": image_id,
        "attempts": attempts,
    } | _by_kind(outcome, attempts, prediction, again, now)


def _by_kind(outcome: Outcome, attempts: int, prediction: Any, again: Again, now: str) -> Change:
    match outcome.kind:
        case OutcomeKind.CLASSIFIED | OutcomeKind.KNOWN:
            return _done(prediction, now)
        case OutcomeKind.UNREADABLE:
            return _quarantined(attempts)
        case OutcomeKind.CRASHED if attempts > 0:
            return _quarantined(attempts)
        case OutcomeKind.TRANSIENT | OutcomeKind.CRASHED:
            return _failed(attempts + 1, again)
        case OutcomeKind.CHANGED:
            return _unsettled(outcome)
    return {"state": _FINAL[outcome.kind]}


def _done(prediction: Any, now: str) -> Change:
    return {
        "state": FileState.DONE,
        "prediction_id": prediction.id,
        "label": prediction.label,
        "classified_at": now,
    }


def _quarantined(attempts: int) -> Change:
    return {"state": FileState.QUARANTINED, "attempts": attempts + 1}


def _failed(attempts: int, again: Again) -> Change:
    next_try_at = again.next_try_at(attempts)
    state = FileState.QUARANTINED if next_try_at is None else FileState.RETRY
    return {"state": state, "attempts": attempts, "next_try_at": next_try_at}


def _unsettled(outcome: Outcome) -> Change:
    change: Change = {"state": FileState.SETTLING}
    if outcome.stat is not None:
        stat = outcome.stat
        change |= {"size": stat.size, "mtime_ns": stat.mtime_ns, "inode": stat.inode}
    return change
