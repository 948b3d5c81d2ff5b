"""The daemon as a whole: start and stop order, signals, heartbeat, one shutdown deadline."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.arrivals import Arrivals
from daemon.clock import Clock, utc_text
from daemon.contracts import RootedSource, Source
from daemon.errors import BusyDatabaseError, ClassifydError
from daemon.health import Health, Pulse
from daemon.loop import Loop
from daemon.mailbox import Mailbox
from daemon.patience import Patience, rest
from daemon.pipeline import BatchRule, Pipeline
from daemon.requests import Requests
from daemon.retrain_thread import RetrainThread
from daemon.room import DiskGuard
from daemon.signals import Signals
from daemon.stage import Stage
from daemon.store.board import Board
from daemon.store.inbox import Inbox
from daemon.switching import Switcher
from daemon.tally import Tally
from daemon.upkeep import Upkeep
from daemon.vigil import Vigil
from daemon.watchers import DeliveryThreads, LabelThreads, SourceThreads

_log = logging.getLogger("classifyd")
SHUTDOWN_S = 30.0
_BEAT_S = 5.0
_MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Parts:
    """All that the service runs, wired by `daemon.app`."""

    clock: Clock
    mailbox: Mailbox
    inbox: Inbox
    board: Board
    arrivals: Arrivals
    pipeline: Pipeline
    switcher: Switcher
    requests: Requests
    delivery: DeliveryThreads
    label_threads: Callable[[], LabelThreads]
    retrain: RetrainThread
    guard: DiskGuard
    upkeep: Upkeep
    vigil: Vigil
    loop: Loop
    formats: Sequence[str]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a changed configuration brings: each None (or False) where it has not changed."""

    sources: Sequence[Source] | None = None
    rule: BatchRule | None = None
    workers: bool = False
    labels: bool = False
    formats: Sequence[str] | None = None


Reload = Callable[[], Reloaded]
"""Reads the configuration again."""


class Service:
    """Starts everything, runs the loop, and stops everything in order."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_at = self._now()
        self._next_beat = 0.0
        self._phase = ""
        self._sources: SourceThreads | None = None
        self._labels = parts.label_threads()
        self._titles: tuple[str, ...] = ()
        self._formats = parts.formats
        self._accepted: list[str] | None = None
        self._pulse = Pulse(parts.clock)

    def health(self) -> Health:
        """Tell how it is; may be asked from any thread."""
        lane = self._parts.pipeline.lane
        return Health(
            phase=self._phase,
            hangs=self._parts.vigil.stuck,
            turned_s=self._pulse.age_s,
            model=lane.name if lane else None,
            runtime=lane.executor.runtime if lane else None,
            workers=lane.executor.workers if lane else 0,
            blocked=(lane.executor.trouble if lane else None) or self._parts.guard.trouble,
            trouble=self._trouble(),
            training=self._parts.retrain.pid,
        )

    def follow(self, sources: Sequence[Source], reload: Reload, signals: Signals) -> None:
        """Be the daemon: watch the sources until SIGTERM or SIGINT; SIGHUP reloads."""

        def on_tick() -> None:
            if signals.take_reload():
                self._parts.vigil.reload(lambda: self._reload(reload))
                self._next_beat = 0.0
            self._tick()

        def is_over() -> bool:
            self._parts.vigil.look(self._stages())
            self._pulse.beat()
            return signals.stop_asked

        self._begin(lambda: signals.stop_asked)
        try:
            self._watch(sources)
            self._parts.retrain.start()
            self._parts.upkeep.start()
            self._parts.loop.run(is_over, on_tick)
            _log.info("stopping: %d files in hand", self._parts.pipeline.in_flight)
        finally:
            self._end()

    def scan(
        self, sources: Sequence[Source], whole: bool, progress: Callable[[Tally, bool], None]
    ) -> Tally:
        """Look once at the sources, classify what waits, and return what was done.

        `progress` is called often with the counts so far and whether the looking has ended.
        Raises `ClassifydError` in the end when a source could not be looked at.
        """
        loop = self._parts.loop
        with Signals() as signals:

            def is_over() -> bool:
                self._parts.vigil.look(self._stages())
                has_looked = loop.scans_ended == len(sources)
                progress(loop.tally, has_looked)
                idle = has_looked and loop.is_drained and self._parts.requests.is_idle
                return signals.stop_asked or idle

            self._begin(lambda: signals.stop_asked)
            try:
                self._scans(sources, whole)
                loop.run(is_over, self._tick)
            finally:
                self._end()
        if loop.alarms:
            # Why was logged when it happened, which may be long before the end.
            raise ClassifydError(f"not looked at, as told above: {', '.join(sorted(loop.alarms))}")
        return loop.tally

    def _begin(self, is_over: Callable[[], bool]) -> None:
        """Start what works beside the loop, once the database can be written at all."""
        parts = self._parts
        waiting = Patience(lambda seconds: rest(seconds, is_over), BusyDatabaseError)
        put_back = waiting.insist(lambda: parts.inbox.release_claims(self._now()))
        if put_back:
            _log.warning("%d files were in work when classifyd last ended; queued again", put_back)
        self._accepted = parts.board.last_detail().get("formats")
        parts.arrivals.resume()
        parts.delivery.start()
        self._labels.start()
        self._beat("starting")

    def _stages(self) -> Iterator[Stage]:
        """Yield all threads that must go on."""
        parts = self._parts
        yield from self._sources.stages if self._sources else ()
        yield from (*self._labels.stages, *parts.delivery.stages)
        yield from (parts.retrain.stage, parts.upkeep.stage)

    def _reexamine(self) -> None:
        """Read ignored files again once workers are warm that accept other formats."""
        before, self._accepted = self._accepted, list(self._formats)
        if before not in (None, self._accepted):
            count = self._parts.inbox.reexamine_ignored(self._now())
            _log.info("accepted formats have changed: %d ignored files are read again", count)

    def _watch(self, sources: Sequence[Source]) -> None:
        self._parts.pipeline.roots = _roots(sources)
        self._titles = tuple(source.title for source in sources)
        self._parts.board.forget_sources((*self._titles, *self._labels.titles))
        self._sources = self._source_threads()
        self._sources.start(sources)

    def _scans(self, sources: Sequence[Source], whole: bool) -> None:
        self._parts.pipeline.roots = _roots(sources)
        self._titles = tuple(source.title for source in sources)
        self._sources = self._source_threads()
        self._sources.start_scans(sources, whole)

    def _source_threads(self) -> SourceThreads:
        return SourceThreads(self._parts.mailbox, self._now, self._parts.board.notes())

    def _reload(self, reload: Reload) -> None:
        fresh = reload()
        if fresh.rule is not None:
            self._parts.pipeline.rule = fresh.rule
        if fresh.workers:
            self._parts.switcher.look(anew=True)
        if fresh.labels:
            self._labels.stop(5.0)
            self._labels = self._parts.label_threads()
            self._labels.start()
        self._formats = fresh.formats or self._formats
        if fresh.sources is not None and self._sources is not None:
            self._sources.stop(5.0)
            self._watch(fresh.sources)

    def _tick(self) -> None:
        self._parts.pipeline.is_held = not self._parts.guard.look()
        self._parts.requests.look()
        self._parts.arrivals.resume()  # `scan` beside us may have found files to settle
        if self._accepted != list(self._formats) and self._parts.switcher.is_settled:
            self._reexamine()
        phase = "running" if self._parts.pipeline.lane else "starting"
        if self._parts.clock.elapsed() >= self._next_beat or phase != self._phase:
            self._next_beat = self._parts.clock.elapsed() + _BEAT_S
            self._beat(phase)

    def _end(self) -> None:
        """Stop in the order in which work flows, so that nothing new arrives behind us.

        Every step is taken even if one before it failed: a process cannot end while a worker
        lives, and only its end lets another be started in its place.
        """
        parts, self._phase = self._parts, "stopping"
        parts.vigil.end()
        end = parts.clock.elapsed() + SHUTDOWN_S

        def left() -> float:
            return max(0.0, end - parts.clock.elapsed())

        with contextlib.ExitStack() as last_first:
            last_first.callback(lambda: self._beat("stopped"))
            last_first.callback(lambda: parts.delivery.stop(left()))
            last_first.callback(lambda: parts.inbox.release_claims(self._now()))
            last_first.callback(lambda: parts.switcher.stop(left()))
            last_first.callback(lambda: self._labels.stop(min(5.0, left())))
            last_first.callback(lambda: parts.retrain.stop(min(10.0, left())))
            last_first.callback(lambda: parts.upkeep.stop(min(5.0, left())))
            last_first.callback(lambda: parts.loop.drain(left()))
            if self._sources is not None:
                self._sources.stop(min(5.0, left()))
        _log.info("stopped")

    def _beat(self, phase: str) -> None:
        self._phase = phase
        detail = self._detail()
        self._parts.board.beat(os.getpid(), phase, self._started_at, self._now(), detail)
        if phase != "stopped":
            self._parts.vigil.tell(phase, detail)

    def _detail(self) -> dict[str, Any]:
        parts = self._parts
        tally, lane = parts.loop.tally, parts.pipeline.lane
        return {
            "workers": lane.executor.workers if lane else 0,
            "runtime": lane.executor.runtime if lane else None,
            "model": lane.name if lane else None,
            "in_flight": parts.pipeline.in_flight,
            "waiting": parts.inbox.queued(_MOST_COUNTED),
            "images": tally.finished,
            "images_per_minute": tally.per_minute(parts.clock.elapsed()),
            "model_error": self._trouble(),
            "last_error": tally.last_error,
            "disk_error": parts.guard.trouble,
            "database_error": parts.upkeep.trouble,
            "sources": list(self._titles),
            "formats": self._accepted,
        }

    def _trouble(self) -> str | None:
        lane = self._parts.pipeline.lane
        return (lane.executor.trouble if lane else None) or self._parts.switcher.last_error

    def _now(self) -> str:
        return utc_text(self._parts.clock.now())


def _roots(sources: Sequence[Source]) -> tuple[bytes, ...]:
    found = (source.root for source in sources if isinstance(source, RootedSource))
    return tuple(os.fsencode(root) for root in found if root is not None)
