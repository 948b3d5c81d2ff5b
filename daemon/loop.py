"""The main loop: takes messages in order, keeps the workers fed, and minds the time.

It is the one thread that writes claims and predictions.
"""

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from daemon.arrivals import Arrivals
from daemon.clock import Clock, utc_text
from daemon.domain import BatchResult
from daemon.errors import RuntimeLoadError
from daemon.mailbox import (
    Found,
    LaneReady,
    Listed,
    Mailbox,
    Message,
    Missing,
    ScanEnded,
    SourceNews,
    merged,
)
from daemon.patience import Patience, rest
from daemon.pipeline import Pipeline
from daemon.store.board import Board
from daemon.store.inbox import Inbox
from daemon.switching import Switcher
from daemon.tally import Tally
from daemon.tries import WAITS_S

_log = logging.getLogger("classifyd")
TICK_S = 1.0
_MOST_MESSAGES = 64
_MOST_COUNTED = 10_000


class Loop:
    """Runs until `stop` says so; `on_tick` is called each second."""

    def __init__(
        self,
        mailbox: Mailbox,
        inbox: Inbox,
        arrivals: Arrivals,
        pipeline: Pipeline,
        switcher: Switcher,
        board: Board,
        clock: Clock,
    ) -> None:
        self._mailbox = mailbox
        self._inbox = inbox
        self._arrivals = arrivals
        self._pipeline = pipeline
        self._switcher = switcher
        self._board = board
        self._clock = clock
        self._next_tick = 0.0
        self.tally = Tally()
        self.alarms: dict[str, str] = {}
        self.scans_ended = 0

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits that this process could still do now."""
        return (
            self._arrivals.unsettled == 0
            and self._pipeline.in_flight == 0
            and self._pipeline.backlog is None
            and self._inbox.queued(1) == 0
        )

    def run(self, stop: Callable[[], bool], on_tick: Callable[[], None]) -> None:
        """Work until `stop`; raises `RuntimeLoadError` when no model can be served.

        Every step can be repeated, and is, while the database refuses for a passing reason.
        """
        insist = Patience(lambda seconds: rest(seconds, stop)).insist
        while not stop():
            insist(self._arrivals.settle)
            if self._clock.elapsed() >= self._next_tick:
                self._next_tick = self._clock.elapsed() + TICK_S
                insist(self._tick)
                insist(on_tick)
            for message in self._take(self._pause(insist(self._pipeline.feed))):
                insist(partial(self._handle, message))

    def drain(self, deadline_s: float) -> None:
        """Take no more work, and record the batches in hand until the deadline."""
        end = self._clock.elapsed() + deadline_s

        def is_over() -> bool:
            return self._clock.elapsed() >= end

        insist = Patience(lambda seconds: rest(seconds, is_over)).insist
        while self._pipeline.in_flight and not is_over():
            message = self._mailbox.get(min(TICK_S, end - self._clock.elapsed()))
            if isinstance(message, BatchResult):
                insist(partial(self._finish, message))
        self.tally.report_last()

    def _tick(self) -> None:
        self._switcher.look()
        now = self._clock.now()
        self._inbox.requeue_due(utc_text(now), utc_text(now + WAITS_S[-1]))
        self.tally.report(self._clock.elapsed(), lambda: self._inbox.queued(_MOST_COUNTED))

    def _pause(self, batch_due: float | None) -> float:
        times = (batch_due, self._arrivals.next_look(), self._next_tick - self._clock.elapsed())
        return max(0.0, min(time for time in times if time is not None))

    def _take(self, timeout_s: float) -> list[Message]:
        messages = []
        message = self._mailbox.get(timeout_s)
        while message is not None:
            messages.append(message)
            message = self._mailbox.get(0.0) if len(messages) < _MOST_MESSAGES else None
        return list(merged(messages))

    def _handle(self, message: Message) -> None:
        match message:
            case BatchResult():
                self._finish(message)
            case Found():
                self.tally.found += self._arrivals.found(
                    message.source, message.sightings, message.listing
                )
            case Missing():
                self._arrivals.missing(message.paths)
            case Listed():
                self._listed(message)
            case SourceNews():
                self._note(message)
            case ScanEnded():
                self.scans_ended += 1
                if message.error is not None:
                    self.alarms[message.source] = message.error
            case LaneReady():
                if not self._switcher.ready(message):
                    raise RuntimeLoadError(f"no model can be served: {message.error}")

    def _finish(self, result: BatchResult) -> None:
        recorded = self._pipeline.finish(result)
        self._arrivals.watch(recorded.unsettled)
        self.tally.add(result, Counter(recorded.counts), self._clock.elapsed())

    def _listed(self, message: Listed) -> None:
        if message.complete:
            self._arrivals.listed(message.listing)
            self._board.source(message.listing.source, listed_at=self._now())

    def _note(self, news: SourceNews) -> None:
        if news.note is not None:
            self._board.source(news.source, note=news.note)
        if news.watching is not None:
            self._board.source(news.source, watching=news.watching)
        if news.alarm is not None:
            _log.error("source %s: %s", news.source, news.alarm)
            self._board.source(news.source, alarm=news.alarm, alarm_at=self._now())
            self.alarms[news.source] = news.alarm
        if news.recovered and news.source in self.alarms:
            _log.info("source %s: well again", news.source)
            self._board.source(news.source, alarm=None, alarm_at=None)
            del self.alarms[news.source]

    def _now(self) -> str:
        return utc_text(self._clock.now())
