"""The threads around the loop: sources that hang must not hold up the end."""

import threading
import time

from daemon.mailbox import Mailbox
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
