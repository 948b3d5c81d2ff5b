"""What the log says of files that give trouble."""

from collections import Counter

from daemon.domain import Batch, BatchResult, FileRef, FileStat, Outcome, OutcomeKind
from daemon.tally import Tally


def trouble(kind: OutcomeKind, attempts: int) -> BatchResult:
    ref = FileRef(1, b"/in/a.jpg", FileStat(1, 1, 1), attempts=attempts)
    return BatchResult(Batch(1, 1, (ref,)), (Outcome(1, kind, reason="odd"),))


def test_a_file_that_is_tried_again_and_again_is_warned_of_once(caplog):
    caplog.set_level("INFO")
    tally = Tally()
    for attempts in range(3):
        tally.add(trouble(OutcomeKind.TRANSIENT, attempts), Counter(), 0.0)
    tally.add(trouble(OutcomeKind.UNREADABLE, 3), Counter(), 0.0)
    told = [(line.levelname, line.message) for line in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "INFO", "INFO", "WARNING"]
    assert {text for _, text in told} == {"/in/a.jpg: odd"}


def test_steady_work_is_told_of_ever_more_seldom_and_a_single_file_at_once(caplog):
    caplog.set_level("INFO")
    tally = Tally()

    def seconds(first, last):
        for now in range(first, last):
            tally.add(trouble(OutcomeKind.CLASSIFIED, 0), Counter({OutcomeKind.CLASSIFIED: 1}), now)
            tally.report(float(now), lambda: 0)

    def told():
        return [int(line.message.split()[0]) for line in caplog.records]

    seconds(0, 1)
    assert told() == [1]
    seconds(1, 61)
    assert len(told()) < 12 and max(told()) == 10
    tally.report(62.0, lambda: 0)
    tally.report_last()
    assert sum(told()) == 61
    caplog.clear()
    seconds(90, 91)
    assert told() == [1]
