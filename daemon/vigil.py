"""Watches over the daemon's own parts, and tells systemd how it is."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from daemon.clock import Clock
from daemon.errors import StageError
from daemon.pipeline import Pipeline
from daemon.stage import Stage
from daemon.switching import Switcher
from daemon.systemd import Systemd
from daemon.watchdog import Task, Watchdog

_log = logging.getLogger("classifyd")
_LOOK_S = 1.0
_MORE_S = 120.0
"""While it starts and all gets on, systemd is asked each second to wait for so long."""
_LOADING_S = 3600.0
"""Longest time for a model to become warm: it may have to be compiled first."""


class Vigil:
    """Looked at by the main loop in each turn, which proves that the loop itself gets on.

    `batch_limit_s` tells how long a batch may be with a worker.
    """

    def __init__(
        self,
        systemd: Systemd,
        pipeline: Pipeline,
        switcher: Switcher,
        batch_limit_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        self._systemd = systemd
        self._pipeline = pipeline
        self._switcher = switcher
        self._batch_limit_s = batch_limit_s
        self._clock = clock
        self._watchdog = Watchdog(clock)
        self._next_look = 0.0
        self._is_ready = False
        self.stuck: str | None = None
        """What hangs, so that only a new start helps; None while all gets on."""

    def look(self, stages: Iterable[Stage]) -> None:
        """Feed systemd's watchdog if all gets on; raises `StageError` where a stage has died."""
        if self._clock.elapsed() < self._next_look:
            return
        self._next_look = self._clock.elapsed() + _LOOK_S
        tasks = list(self._tasks())
        for stage in stages:
            _require_alive(stage)
            if (task := stage.task) is not None:
                tasks.append(task)
        self._judge(self._watchdog.look(tasks))

    def _judge(self, stuck: str | None) -> None:
        before, self.stuck = self.stuck, stuck
        if stuck is None:
            self._systemd.alive()
            if not self._is_ready:
                self._systemd.wait_for(_MORE_S)
            if before is not None:
                _log.info("goes on: %s", before)
        elif before is None:
            _log.error("hangs: %s; systemd, if it watches, starts classifyd anew", stuck)

    def _tasks(self) -> Iterator[Task]:
        limit_s = self._batch_limit_s()
        for number in self._pipeline.batches:
            yield Task(("batch", number), f"batch {number} is with a worker", limit_s)
        if (name := self._switcher.starting) is not None:
            yield Task(("model", name), f"model {name} is being loaded", _LOADING_S)

    def tell(self, phase: str, detail: Mapping[str, Any]) -> None:
        """Say how it is; when it runs for the first time, that it is ready."""
        line = f"stuck: {self.stuck}" if self.stuck else self._line(phase, detail)
        if phase == "running" and not self._is_ready:
            self._is_ready = True
            self._systemd.ready(line)
        else:
            self._systemd.status(line)

    def _line(self, phase: str, detail: Mapping[str, Any]) -> str:
        loading = self._switcher.starting
        words = [f"loading model {loading}"] if loading else []
        if phase == "running":
            words.insert(0, _serving(detail))
        return "; ".join(words) or phase

    def reload(self, act: Callable[[], None]) -> None:
        """Read the configuration again, and tell systemd when that begins and has ended."""
        if self._is_ready:
            self._systemd.reloading()
        try:
            act()
        finally:
            if self._is_ready:
                self._systemd.ready("the configuration has been read again")

    def end(self) -> None:
        """The draining begins."""
        self._systemd.stopping(f"stopping: {self._pipeline.in_flight} files in hand")


def _require_alive(stage: Stage) -> None:
    if stage.death is not None:
        raise StageError(
            f"{stage.name} has ended ({stage.death}), and classifyd with it; start it again"
            " (under systemd that happens by itself)"
        )


def _serving(detail: Mapping[str, Any]) -> str:
    text = f"{detail['model']} on {detail['runtime']}: {detail['images']} images"
    if detail["images_per_minute"]:
        text += f", {detail['images_per_minute']:.0f} a minute"
    text += f"; {detail['in_flight']} in hand, {detail['waiting']} waiting"
    trouble = detail["model_error"]
    return f"{text}; {trouble}" if trouble else text


def batch_limit_s(timeout_s: float, max_size: int) -> float:
    """Return the seconds that a batch may take from hand-over to its result: it may wait for
    another, and each image for its time; a dead worker is replaced meanwhile."""
    batch_s = timeout_s * (max_size + 1) + 60.0
    return 2 * batch_s + 600.0
