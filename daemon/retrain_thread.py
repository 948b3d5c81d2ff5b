"""The thread that starts a training run when one is due, and follows its process."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from daemon.clock import Clock
from daemon.errors import BusyError, ClassifydError, PluginError
from daemon.stage import Stage

if TYPE_CHECKING:
    from daemon.learning.schedule import Plan

_log = logging.getLogger("classifyd.retrain")
_LOOK_S = 2.0
_CALM_S = 10.0
"""Labels mostly come in bursts: a run begins when none came for so long."""
_STOP_S = 10.0
_AFTER_FAILURE_S = 600.0
_NOT_DUE_S = 30.0
"""All labels are counted to tell whether a run is due, which takes a while where they are many."""
_HUNG_S = 6 * 3600.0
"""A run that tells of no progress for so long will never end."""


class Process(Protocol):
    """What is seen of a training process."""

    @property
    def pid(self) -> int:
        """Its process number."""

    def ended(self) -> int | None:
        """Return its exit code, None while it runs."""

    def stop(self, deadline_s: float) -> None:
        """End it."""

    def said(self) -> str:
        """Return the end of what it printed."""


class Labels(Protocol):
    """What the daemon does about labels besides taking them in; every call may raise
    `ClassifydError`, and is then made again later."""

    def clear(self) -> None:
        """Clear away what killed runs left."""

    def settle(self) -> None:
        """Put new labelled images on their sides."""

    def proposal(self) -> "Plan | None":
        """Return the run that is due."""

    def changed(self) -> int:
        """Return how many images are labelled otherwise than in the last run."""

    def step(self) -> object:
        """Return where the run that goes on is: what changes while it gets on."""

    def start(self) -> Process:
        """Start the process of a run that is due."""

    def ended(self, process: Process, code: int, stopped: bool) -> None:
        """Write down how a process ended, where it could not itself."""


class RetrainThread:
    """Looks every few seconds; one process at a time."""

    def __init__(self, labels: Labels, clock: Clock) -> None:
        self._labels = labels
        self._clock = clock
        self._stop = threading.Event()
        self.stage = Stage("retraining", self._run, self._stop)
        self._process: Process | None = None
        self._changed = 0
        self._calm_since = 0.0
        self._not_before = 0.0
        self._step: object = None
        self._step_since = 0.0

    @property
    def pid(self) -> int | None:
        """The process number of the run that goes on."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Begin to look."""
        self.stage.start()

    def stop(self, deadline_s: float) -> None:
        """End the looking, and a run that is going on; the next start takes it up again."""
        self._stop.set()
        self.stage.join(deadline_s)
        if (process := self._process) is not None:
            process.stop(min(deadline_s, _STOP_S))
            self._tell_end(process, process.ended() or 0, stopped=True)

    def _run(self) -> Iterator[float]:
        self._insist(self._labels_at_start)
        yield _LOOK_S
        while not self._stop.is_set():
            self._insist(self.look)
            yield _LOOK_S

    def _labels_at_start(self) -> None:
        self._labels.clear()
        self._labels.settle()

    def _insist(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BusyError as error:
            _log.debug("no training run is started: %s", error)
        except (ClassifydError, OSError) as error:
            _log.warning("no training run is started: %s", error)
            self._stop.wait(_CALM_S)
        except BaseException:  # a plugin may raise even what ends a program
            _log.exception("retraining failed")
            self._stop.wait(_CALM_S)

    def look(self) -> None:
        """Do what is to be done now."""
        if self._process is not None:
            code = self._process.ended()
            if code is None:
                self._end_hung(self._process)
                return
            process, self._process = self._process, None
            self._tell_end(process, code, stopped=False)
            if code:  # it may have failed before it could say so anywhere
                self._not_before = self._clock.elapsed() + _AFTER_FAILURE_S
        self._labels.settle()
        if self._is_calm() and (plan := self._proposal()) is not None:
            _log.info("training by %s: %s", plan.strategy, plan.reason)
            self._process = self._labels.start()
            self._step, self._step_since = None, self._clock.elapsed()

    def _proposal(self) -> "Plan | None":
        try:
            plan = self._labels.proposal()
        except PluginError:  # it will answer no better at once
            self._not_before = self._clock.elapsed() + _AFTER_FAILURE_S
            raise
        if plan is None:
            self._not_before = self._clock.elapsed() + _NOT_DUE_S
        return plan

    def _end_hung(self, process: Process) -> None:
        step, now = self._labels.step(), self._clock.elapsed()
        if step != self._step:
            self._step, self._step_since = step, now
        elif now - self._step_since > _HUNG_S:
            _log.error("training got no further in %g hours: it is ended", _HUNG_S / 3600)
            process.stop(_STOP_S)

    def _is_calm(self) -> bool:
        changed, now = self._labels.changed(), self._clock.elapsed()
        if changed != self._changed:
            self._changed, self._calm_since = changed, now
        is_early = now < self._not_before or now - self._calm_since < _CALM_S
        return changed > 0 and not is_early

    def _tell_end(self, process: Process, code: int, stopped: bool) -> None:
        self._insist(lambda: self._labels.ended(process, code, stopped))
