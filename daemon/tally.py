"""What this process has done: counts for `status` and progress, and its log lines."""

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daemon.domain import BatchResult, FileRef, Outcome, OutcomeKind
from daemon.text import display_path, printable

_log = logging.getLogger("classifyd")
_WORDS = {
    OutcomeKind.CLASSIFIED: "classified",
    OutcomeKind.KNOWN: "known already",
    OutcomeKind.UNREADABLE: "unreadable",
    OutcomeKind.NOT_IMAGE: "not images",
    OutcomeKind.VANISHED: "vanished",
    OutcomeKind.CHANGED: "changed meanwhile",
    OutcomeKind.TRANSIENT: "to be tried again",
    OutcomeKind.CRASHED: "crashed their worker",
}
_FIRST_GAP_S, _LONGEST_GAP_S = 1.0, 10.0
_AGAIN = frozenset({OutcomeKind.TRANSIENT, OutcomeKind.CRASHED})
_TROUBLE = _AGAIN | {OutcomeKind.UNREADABLE}


@dataclass
class Tally:
    """Counts of this process since it began."""

    found: int = 0
    outcomes: Counter[OutcomeKind] = field(default_factory=Counter)
    last_error: str | None = None
    _unreported: Counter[OutcomeKind] = field(default_factory=Counter)
    _report_at: float = -math.inf
    _gap_s: float = 0.0
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=4096))

    @property
    def finished(self) -> int:
        """Files brought to an end."""
        return sum(self.outcomes.values())

    def add(self, result: BatchResult, counts: Counter[OutcomeKind], now: float) -> None:
        """Count one batch, and log each trouble in it."""
        self.outcomes += counts
        self._unreported += counts
        self._recent.append((now, sum(counts.values())))
        files = {ref.file_id: ref for ref in result.batch.files}
        for outcome in result.outcomes:
            if outcome.kind in _TROUBLE:
                self._trouble(files[outcome.file_id], outcome)
        if result.failure is not None:
            self._failure(result.batch.files, result.failure)

    def _failure(self, files: Sequence[FileRef], failure: str) -> None:
        self.last_error = failure
        what = f"a batch of {len(files)}" if len(files) > 1 else _name(files[0])
        _log.warning("%s failed: %s", what, failure)

    def _trouble(self, ref: FileRef, outcome: Outcome) -> None:
        """Warn of a file once, however often it is tried again."""
        self.last_error = f"{_name(ref)}: {outcome.reason}"
        is_again = outcome.kind in _AGAIN and ref.attempts > 0
        _log.log(logging.INFO if is_again else logging.WARNING, "%s", self.last_error)

    def report(self, now: float, count_waiting: Callable[[], int]) -> None:
        """Log one line on what was done since the last report: at once after a rest, and ever more
        seldom, at last each ten seconds, while work goes on. `now` is monotonic, in seconds."""
        if not self._unreported or now < self._report_at:
            return
        is_busy = now < self._report_at + _LONGEST_GAP_S
        self._gap_s = min(2 * self._gap_s, _LONGEST_GAP_S) if is_busy else _FIRST_GAP_S
        self._report_at = now + self._gap_s
        self._report(count_waiting())

    def report_last(self) -> None:
        """Log what was done since the last report, since there will be no other."""
        if self._unreported:
            self._report(0)

    def _report(self, waiting: int) -> None:
        _log.info("%s%s", _words(self._unreported), f"; {waiting} waiting" if waiting else "")
        self._unreported.clear()

    def in_words(self) -> str:
        """Return the counts since the beginning: `12 classified, 1 unreadable`."""
        return _words(self.outcomes)

    def per_minute(self, now: float) -> float:
        """Return files a minute over the last minute."""
        return float(sum(count for at, count in self._recent if at > now - 60.0))


def _name(ref: FileRef) -> str:
    return printable(display_path(ref.path))


def _words(outcomes: Counter[OutcomeKind]) -> str:
    return ", ".join(f"{count} {_WORDS[kind]}" for kind, count in sorted(outcomes.items()))
