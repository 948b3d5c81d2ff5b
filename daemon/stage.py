"""A thread of the daemon that works in steps, and must not end before it is asked to."""

import logging
import threading
from collections.abc import Callable, Iterator

from daemon.watchdog import Task

_log = logging.getLogger("classifyd")
STEP_S = 1800.0
"""Longest time of a step: a sink that sends many events to a slow server, a label source that
reads a large file. What takes longer hangs."""


class Stage:
    """Runs `work`, a generator that yields the seconds to rest after each step, until `stop`.

    `limit_s` is how long a step may take; None where one lasts as long as the stage, as the
    watching of a folder does.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Iterator[float]],
        stop: threading.Event,
        limit_s: float | None = STEP_S,
    ) -> None:
        self.name = name
        self.death: str | None = None
        """Why it has ended without being asked to."""
        self._work = work
        self._stop = stop
        self._limit_s = limit_s
        self._steps = 0
        self._is_resting = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    @property
    def task(self) -> Task | None:
        """The step it is at, None where it rests or may take as long as it likes."""
        if self._is_resting or self._limit_s is None:
            return None
        return Task((self, self._steps), f"{self.name} is at one step", self._limit_s)

    def _run(self) -> None:
        try:
            self._turn()
        except BaseException as error:  # a plugin may raise even what ends a program
            _log.debug("%s has ended", self.name, exc_info=True)
            self.death = f"{type(error).__name__}: {error}"
        else:
            if not self._stop.is_set():
                self.death = "nothing was left to do"
        self._is_resting = True

    def _turn(self) -> None:
        """Step after step; once asked to stop, those that the work itself still wants."""
        self._is_resting = False
        for pause_s in self._work():
            self._is_resting = True
            self._stop.wait(pause_s)
            self._steps += 1
            self._is_resting = False
