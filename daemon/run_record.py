"""The record of a training run while it goes on: alone on the machine, followed, and ended."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from daemon.app import Wiring
from daemon.clock import Clock, utc_text
from daemon.errors import ClassifydError, DatabaseError, PassingDatabaseError, TrainingError
from daemon.lock import training_lock
from daemon.patience import Patience
from daemon.store.run_rows import DIED, RunState
from daemon.store.runs import TrainingRuns
from daemon.training.collect import Progress
from daemon.training_leftovers import clear_leftovers

if TYPE_CHECKING:
    from sqlalchemy import Engine

T = TypeVar("T")
_PROGRESS_S = 1.0


class Interrupted(KeyboardInterrupt):
    """Somebody asked the training process to end."""


@contextmanager
def training_alone(wiring: Wiring, engine: "Engine") -> Iterator[None]:
    """Hold the lock of training, and clear away what killed runs left.

    Raises `BusyError` while another process trains.
    """
    state = wiring.loaded.settings.state_dir
    with training_lock(state):
        end_dead_runs(engine, utc_text(wiring.clock.now()), DIED, RunState.INTERRUPTED)
        clear_leftovers(state)
        yield


def end_dead_runs(engine: "Engine", now: str, reason: str, state: RunState) -> None:
    """Write the end of runs whose process is gone; only for the holder of the lock."""
    TrainingRuns(engine).fail_dead(reason, now, state)


@contextmanager
def recorded(wiring: Wiring, engine: "Engine", run_id: int) -> Iterator[None]:
    """Write how a run failed, whatever it was that ended it.

    Raises `TrainingError` in place of an `OSError`: a disk that is full is for the user to mend.
    """

    def fail(reason: str, state: RunState = RunState.FAILED) -> None:
        with suppress(PassingDatabaseError):  # what ended the run is worth more; others mend it
            TrainingRuns(engine).fail(run_id, reason, utc_text(wiring.clock.now()), state)

    try:
        yield
    except KeyboardInterrupt:
        fail("its process was asked to end", RunState.INTERRUPTED)
        raise
    except ClassifydError as error:
        fail(str(error))
        raise
    except OSError as error:
        where = error.filename2 or error.filename or wiring.loaded.settings.state_dir
        message = f"{where}: {error.strerror}; make room or mend its rights, and train again"
        fail(message)
        raise TrainingError(message) from error
    except BaseException as error:
        fail(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        raise


def insist(write: Callable[[], T]) -> T:
    """Write what hours of training came to, however long the database refuses to take it."""
    return Patience(_rest).insist(write)


def _rest(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Reporting:
    """Shows progress, and writes it into the run's row once a second for whoever asks."""

    def __init__(self, engine: "Engine", run_id: int, show: Progress, clock: Clock) -> None:
        self._runs = TrainingRuns(engine)
        self._run_id = run_id
        self._show = show
        self._clock = clock
        self._next = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell of a step."""
        self._show(stage, done, total)
        if self._clock.elapsed() >= self._next:
            self._next = self._clock.elapsed() + _PROGRESS_S
            with suppress(DatabaseError):  # telling must not cost the run
                self._runs.at(self._run_id, {"stage": stage, "done": done, "total": total})
