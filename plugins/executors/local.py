"""The `local` executor: worker processes on this machine, one thread minding each."""

import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Literal

from pydantic import Field, field_validator

from daemon.contracts import Executor, Factory, Options, WorkerSetup
from daemon.domain import Batch, BatchResult
from daemon.errors import RuntimeLoadError
from daemon.hookspecs import hookimpl
from daemon.worker_main import READY, Answer, main

_START_S = 300.0
_INFERENCE_S = 60.0
_WAITS_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_log = logging.getLogger("classifyd")


class LocalOptions(Options):
    """Options of the `local` executor."""

    workers: int | Literal["auto"] = Field(
        "auto",
        description="worker processes (1 to 256), each of which holds the model in memory; auto:"
        " one for each processor where the model is compiled, else one",
        union_mode="left_to_right",
    )

    @field_validator("workers")
    @classmethod
    def _few(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError("must be auto or a whole number from 1 to 256")
        return value


class _Process:
    """One worker process and its pipe; replaced as a whole when it dies."""

    def __init__(self, setup: WorkerSetup) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=main, args=(theirs, setup), name="classifyd-worker", daemon=True
        )
        try:
            self._process.start()
        except OSError as error:
            raise RuntimeLoadError(f"no worker process can be started: {error}") from error
        theirs.close()
        self._has_hung = False

    def await_ready(self) -> None:
        """Wait until the worker is warm; raises `RuntimeLoadError` with its own words."""
        answer = self._answer(_START_S)
        if answer is None:
            raise RuntimeLoadError(f"a worker did not start: it {self._end(_START_S)}")
        if answer != READY:
            self.kill()
            raise RuntimeLoadError(str(answer))

    def run(self, batch: Batch, deadline_s: float) -> BatchResult:
        """Have a batch processed; a death or a silence past the deadline is a failure."""
        try:
            self._pipe.send(batch)
            answer = self._answer(deadline_s)
        except OSError:
            answer = None
        if isinstance(answer, Answer):
            if answer.last is not None:
                _log.warning("a worker is replaced: %s", answer.last)
                self.kill()
            return BatchResult(batch, answer.outcomes, answer.failure, took=answer.took)
        failure = f"the worker {self._end(deadline_s)}"
        return BatchResult(batch, failure=failure, is_crash=self._is_own_fault())

    def _answer(self, timeout_s: float) -> object:
        ready: list[object] = list(wait([self._pipe, self._process.sentinel], timeout_s))
        try:
            return self._pipe.recv() if self._pipe in ready else None
        except (EOFError, OSError):
            return None

    def is_alive(self) -> bool:
        """Tell whether the process can take another batch."""
        return self._process.is_alive()

    def close(self) -> None:
        """Let the worker end by itself (it reads the end of the pipe)."""
        self._pipe.close()
        self._process.join(5.0)
        self.kill()

    def kill(self) -> None:
        """End the worker at once."""
        self._process.kill()
        self._process.join()

    def _end(self, waited_s: float) -> str:
        """End a worker that gave no answer, and say what was the matter with it."""
        self._process.join(1.0)  # a dying process closes its pipe a little before it is dead
        self._has_hung = self._process.is_alive()
        self.kill()
        code = self._process.exitcode or 0
        if self._has_hung:
            return f"gave no answer in {waited_s:g} s"
        if code == -signal.SIGALRM:
            return "hung in a decoder (decode.timeout_s)"
        return f"was killed by signal {_named(-code)}" if code < 0 else f"ended with code {code}"

    def _is_own_fault(self) -> bool:
        """Tell whether the process died of what it did; one killed for memory may not have."""
        return self._has_hung or -(self._process.exitcode or 0) not in _FROM_OUTSIDE


def _named(number: int) -> str:
    """Write a signal as `11 (SIGSEGV)`."""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


class LocalExecutor:
    """Batches wait in one queue; each worker's thread takes the next as soon as it is free."""

    def __init__(self, options: LocalOptions) -> None:
        self._options = options
        self.workers = 1 if options.workers == "auto" else options.workers
        self.runtime: str | None = None
        self.trouble: str | None = None
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._processes: set[_Process] = set()
        self._changing = threading.Lock()
        self._has_ended = False
        self._stopping = threading.Event()

    def start(self, setup: WorkerSetup, deliver: Callable[[BatchResult], None]) -> None:
        """Start all workers at once and return when the last is warm."""
        self.runtime = setup.runtime
        if self._options.workers == "auto" and setup.compiled is not None:
            self.workers = len(os.sched_getaffinity(0))
        try:
            processes = [self._add(setup) for _ in range(self.workers)]
            for process in processes:
                process.await_ready()
        except RuntimeLoadError:
            self.stop(0.0)
            raise
        for process in processes:
            thread = threading.Thread(
                target=self._mind, args=(process, setup, deliver), name="worker", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def submit(self, batch: Batch) -> None:
        """Queue a batch."""
        self._batches.put(batch)

    def stop(self, deadline_s: float) -> None:
        """Finish what is queued within the deadline, then end the workers; may be called again,
        with a nearer deadline."""
        end = time.monotonic() + deadline_s
        self._stopping.set()
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._changing:
            self._has_ended = True
            for process in self._processes:
                process.kill()

    def _mind(
        self, process: _Process, setup: WorkerSetup, deliver: Callable[[BatchResult], None]
    ) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                if not process.is_alive():
                    process = self._replace(process, setup)
                result = self._run(process, batch, setup)
            except RuntimeLoadError as error:
                result = BatchResult(batch, failure=str(error))
            deliver(result)
        process.close()

    def _run(self, process: _Process, batch: Batch, setup: WorkerSetup) -> BatchResult:
        rounds = -(-len(batch.files) // setup.limits.threads)
        return process.run(batch, setup.limits.timeout_s * (rounds + 1) + _INFERENCE_S)

    def _replace(self, dead: _Process, setup: WorkerSetup) -> _Process:
        """Start a worker for a dead one, as often as it takes: what keeps it from starting (memory
        is short, a disk is away) may pass, and its batch is not to blame."""
        self._forget(dead)
        for wait_s in chain(_WAITS_S, repeat(_WAITS_S[-1])):
            try:
                process = self._warm(setup)
            except RuntimeLoadError as error:
                if self._stopping.is_set():
                    break
                self.trouble = f"a worker cannot be replaced: {error}"
                _log.error("%s; next try in %g s", self.trouble, wait_s)
            else:
                self.trouble = None
                return process
            if self._stopping.wait(wait_s):
                break
        raise RuntimeLoadError("the workers were stopped")

    def _warm(self, setup: WorkerSetup) -> _Process:
        process = self._add(setup)
        try:
            process.await_ready()
        except RuntimeLoadError:
            self._forget(process)
            raise
        return process

    def _forget(self, dead: _Process) -> None:
        with self._changing:
            self._processes.discard(dead)

    def _add(self, setup: WorkerSetup) -> _Process:
        """Start a process, but none that would outlive `stop`."""
        with self._changing:
            if self._has_ended:
                raise RuntimeLoadError("the workers were stopped")
            process = _Process(setup)
            self._processes.add(process)
            return process


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Offer `local`."""
    yield Factory("local", LocalExecutor, LocalOptions, "worker processes on this machine")
