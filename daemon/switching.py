"""Keeps the workers on the active model version: warms up the next, then swaps between batches."""

import logging
import threading
from collections.abc import Callable

from daemon.errors import ClassifydError
from daemon.mailbox import LaneReady, Mailbox
from daemon.pipeline import Lane, Pipeline
from daemon.store.models import Models, Version

_log = logging.getLogger("classifyd.model")
_RETIRE_S = 120.0

MakeLane = Callable[[Version], Lane]
StartLane = Callable[[Lane, Version], None]


class Switcher:
    """Notices a new deployment, starts workers for it beside the old ones, and swaps.

    `make` builds an idle lane; `start` warms it up (slow, run in a thread of its own).
    """

    def __init__(
        self,
        models: Models,
        pipeline: Pipeline,
        mailbox: Mailbox,
        make: MakeLane,
        start: StartLane,
    ) -> None:
        self._models = models
        self._pipeline = pipeline
        self._mailbox = mailbox
        self._make = make
        self._start = start
        self._wanted: int | None = None
        self._anew = False
        self._starting: Lane | None = None
        self._retiring: list[tuple[threading.Thread, Lane]] = []
        self.last_error: str | None = None

    @property
    def starting(self) -> str | None:
        """The name of the model version whose workers are being started."""
        return self._starting.name if self._starting else None

    @property
    def is_settled(self) -> bool:
        """Whether the active version is served, or was tried and cannot be."""
        is_idle = self._starting is None and not self._anew
        return is_idle and self._wanted == self._models.newest_deployment()

    def look(self, anew: bool = False) -> None:
        """Start workers for a deployment that is new, once; activating again tries again.

        `anew` starts them in any case: their settings have changed.
        """
        self._anew = self._anew or anew
        if self._starting is not None:
            return
        deployment = self._models.newest_deployment()
        if deployment == self._wanted and not self._anew:
            return
        active = self._models.active()
        if active is None:
            return
        self._anew = False
        self._wanted = deployment
        self._starting = lane = self._make(active)
        _log.info("loading model %s", active.name)
        threading.Thread(
            target=self._warm_up, args=(lane, active), name="switch", daemon=True
        ).start()

    def _warm_up(self, lane: Lane, version: Version) -> None:
        error = None
        try:
            self._start(lane, version)
        except ClassifydError as failure:
            error = str(failure)
        except Exception as failure:
            _log.debug("starting workers failed", exc_info=True)
            error = f"{type(failure).__name__}: {failure}"
        self._mailbox.put(LaneReady(lane, error))

    def ready(self, message: LaneReady) -> bool:
        """Swap to the warm workers, or keep the old ones; False when there are none to keep."""
        self._starting = None
        self.last_error = message.error
        if message.error is not None:
            kept = self._pipeline.lane
            _log.error(
                "model %s cannot be loaded: %s%s",
                message.lane.name,
                message.error,
                f"; {kept.name} goes on" if kept else "",
            )
            return kept is not None
        _log.info("model %s is active", message.lane.name)
        before = self._pipeline.serve(message.lane)
        if before is not None:
            self._retire(before)
        return True

    def _retire(self, lane: Lane) -> None:
        """Let the old workers finish what they have in hand; their results still arrive."""
        thread = threading.Thread(
            target=lane.executor.stop, args=(_RETIRE_S,), name="retire", daemon=True
        )
        thread.start()
        self._retiring = [*(each for each in self._retiring if each[0].is_alive()), (thread, lane)]

    def stop(self, deadline_s: float) -> None:
        """End all workers, those still starting or retiring too."""
        if self._starting is not None:
            self._starting.executor.stop(0.0)
        if self._pipeline.lane is not None:
            self._pipeline.lane.executor.stop(deadline_s)
        for _, lane in self._retiring:
            lane.executor.stop(0.0)
