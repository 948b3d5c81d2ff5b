"""The threads around the loop: sources that hang must not hold up the end."""

import threading
import time

import pytest

from daemon.mailbox import Mailbox
from daemon.testing import until
from daemon.watchers import SourceThreads


class Hanging:
    """A source whose folder does not answer, as on a network share that is away."""

    def __init__(self, title, answers):
        self.title = title
        self._answers = answers

    def run(self, intake, stop):
        self._answers.wait(10.0)


def test_many_hanging_sources_cost_no_more_than_one():
    answers = threading.Event()
    threads = SourceThreads(Mailbox(), lambda: "now", {})
    threads.start([Hanging(f"share {number}", answers) for number in range(5)])
    began = time.monotonic()
    threads.stop(0.2)
    assert time.monotonic() - began < 0.6
    answers.set()


class Leaving:
    """A source that ends the hard way, then gives up, and then does its work."""

    title = "camera"

    def __init__(self):
        self.runs = 0

    def run(self, intake, stop):
        self.runs += 1
        if self.runs == 1:
            raise SystemExit("no camera")
        if self.runs > 2:
            stop.wait(60.0)


@pytest.mark.slow
def test_a_source_that_ends_before_it_is_asked_to_is_started_again():
    source, mailbox, alarms = Leaving(), Mailbox(), []
    threads = SourceThreads(mailbox, lambda: "now", {})
    threads.start([source])

    def runs() -> bool:
        if (message := mailbox.get(0.01)) is not None and message.alarm:
            alarms.append(message.alarm)
        return source.runs == 3

    until(runs)
    threads.stop(10.0)
    assert [alarm.split(";")[0] for alarm in alarms] == [
        "failed (SystemExit: no camera)",
        "failed (it ended by itself)",
    ]
    assert [(stage.is_alive, stage.death) for stage in threads.stages] == [(False, None)]
