"""What the daemon does when labels change: sides at once, a training run when one is due."""

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.app import Wiring, require_room_to_train
from daemon.clock import utc_text
from daemon.errors import BusyError
from daemon.labels.siding import settle_sides
from daemon.learning.schedule import Plan
from daemon.lock import training_lock
from daemon.proposing import history, proposal
from daemon.retrain_thread import Process
from daemon.run_record import end_dead_runs, training_alone
from daemon.store.database import reading
from daemon.store.label_changes import fingerprint
from daemon.store.run_rows import Run, RunState, Standing, last_run, standing
from daemon.training_leftovers import clear_leftovers
from daemon.training_process import TrainingProcess

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = logging.getLogger("classifyd.retrain")

Start = Callable[[Path, Path], TrainingProcess]
"""Starts a process on a configuration file; the second path is for what it prints."""
_OUT_OF_MEMORY = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)
"""How the kernel, or TensorFlow itself, ends a process that gets no more memory."""


class LabelChanges:
    """The labels of one daemon, wired for its retrain thread."""

    def __init__(self, wiring: Wiring, engine: "Engine", start: Start = TrainingProcess) -> None:
        self._wiring = wiring
        self._engine = engine
        self._start = start
        self._seen: object = None
        self._changed = 0
        self._before: int | None = None

    def clear(self) -> None:
        """Clear away what runs left that were killed while the daemon was not there."""
        with suppress(BusyError), training_alone(self._wiring, self._engine):
            pass

    def settle(self) -> None:
        """Put new labelled images on their sides."""
        settle_sides(self._engine, self._now())

    def changed(self) -> int:
        """Return how many images are labelled otherwise than in the last run; asked of the
        whole table only when it has changed. Ours is not going on now: a run that is still
        called running was killed, unless somebody trains by hand."""
        settings, now = self._wiring.loaded.settings.retrain, self._wiring.clock.now()
        if (last := self._standing()) is not None and last.state is RunState.RUNNING:
            self.clear()
            last = self._standing()
        with reading(self._engine) as connection:
            seen = fingerprint(connection), last and (last.run_id, last.state)
            if seen != self._seen:
                self._changed = history(settings, connection, now).changed
                self._seen = seen
        return self._changed

    def step(self) -> object:
        """Return where the run that goes on is."""
        return self._standing()

    def proposal(self) -> Plan | None:
        """Return the run that is due."""
        return proposal(self._wiring, self._engine)

    def start(self) -> Process:
        """Start a training process; raises `BusyError` while another one trains, `NoRoomError` on
        a full disk."""
        state, path = self._wiring.loaded.settings.state_dir, self._wiring.loaded.path
        require_room_to_train(self._wiring.loaded.settings)
        with training_lock(state):  # or it would only say that it is not alone
            pass
        assert path is not None, "a daemon has a configuration file"
        last = self._standing()
        self._before = None if last is None else last.run_id
        return self._start(path, state / "training.log")

    def ended(self, process: Process, code: int, stopped: bool) -> None:
        """Write down how a process ended, where it could not itself, and log what came of it."""
        state_dir = self._wiring.loaded.settings.state_dir
        with training_lock(state_dir):
            if stopped:
                reason, state = "classifyd was stopped", RunState.INTERRUPTED
            else:
                reason, state = _reason(process, code), RunState.FAILED
            end_dead_runs(self._engine, self._now(), reason, state)
            clear_leftovers(state_dir)
        if stopped:
            return
        with reading(self._engine) as connection:
            last = last_run(connection)
        if last is not None and last.run_id != self._before:
            _tell(last, code)
        elif code:
            _log.error("no training run has begun: %s", _reason(process, code))

    def _standing(self) -> Standing | None:
        with reading(self._engine) as connection:
            return standing(connection)

    def _now(self) -> str:
        return utc_text(self._wiring.clock.now())


def _reason(process: Process, code: int) -> str:
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    hint = ": killed, or out of memory (retrain.max_memory_mb)" if -code in _OUT_OF_MEMORY else ""
    said = process.said()
    return f"its process ended {how}{hint}" + (f"\n{said}" if said else "")


def _tell(run: Run, code: int) -> None:
    if run.state is RunState.FINISHED and run.verdict is not None:
        verdict = "goes live" if run.verdict["allowed"] else "was refused"
        reasons = " ".join(run.verdict["reasons"])
        _log.info("training run %d: its challenger %s. %s", run.run_id, verdict, reasons)
    elif code:
        first = (run.log or "").partition("\n")[0]
        _log.error("training run %d %s: %s", run.run_id, run.state, first)
