"""The entry of a worker process: wires runtime, decoder and pipe, and ends with its parent."""

import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.contracts import DecodeLimits, WorkerSetup
from daemon.domain import Batch, BatchResult, Outcome, Took
from daemon.errors import ClassifydError, RuntimeLoadError
from daemon.growth import Growth
from daemon.priority import WORKER_SCORE, go_first
from daemon.quiet import hush_pillow

if TYPE_CHECKING:
    from daemon.contracts import Executable, Runtime
    from daemon.manifest import Manifest
    from daemon.scores import Limits
    from daemon.worker import Worker

READY = "ready"
EXIT_REPLACED = 70
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's `mallopt`


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's `BatchResult` without the batch, which the other side has.

    `last` says why the process ends with it and must be replaced, if it does.
    """

    outcomes: tuple[Outcome, ...]
    failure: str | None
    took: Took
    last: str | None


def main(pipe: Connection, setup: WorkerSetup) -> None:
    """Warm up, say `ready` (or why not, as text), then answer each `Batch`."""
    _end_with_parent()
    _settle_process()
    try:
        worker = _build(setup)
    except ClassifydError as error:
        pipe.send(str(error))
        return
    _limit_memory(setup.limits)
    _silence()
    growth = Growth(setup.limits.max_memory_mb * 1_000_000 // 2)
    pipe.send(READY)
    while (batch := _receive(pipe)) is not None:
        try:
            result = worker.process(batch)
        except Exception as error:
            result = BatchResult(batch, failure=f"{type(error).__name__}: {error}")
        last = "a decoder hangs in it" if worker.is_stuck else growth.complaint()
        pipe.send(Answer(result.outcomes, result.failure, result.took, last))
        if last is not None:
            os._exit(EXIT_REPLACED)  # a thread that hangs cannot be joined


def _receive(pipe: Connection) -> Batch | None:
    try:
        message: Batch | None = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _end_with_parent() -> None:
    """A killed daemon must leave no worker behind, whatever the worker is doing."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _settle_process() -> None:
    """Leave signals to the parent: Ctrl-C goes to the whole group, and a batch must finish.

    Where memory runs out this process ends before the parent, which can replace it."""
    go_first(WORKER_SCORE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # see `_alarm`
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    hush_pillow()


def _alarm(seconds: float) -> None:
    """Have the kernel end this process in so many seconds, 0 for never: native code that hangs
    with the interpreter's lock in its hand lets no thread of ours notice it."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _silence() -> None:
    """Drop what native decoders print of damaged files: the reason goes with the outcome, and a
    stranger's file must not be able to fill the log."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _build(setup: WorkerSetup) -> "Worker":
    from functools import partial

    import plugins
    from daemon.artifacts import read_manifest
    from daemon.catalogue import Catalogue
    from daemon.config import Selection
    from daemon.loader import load_plugins
    from daemon.scores import verdicts
    from daemon.worker import Worker

    catalogue = Catalogue(load_plugins(plugins.BUILTIN, setup.plugins))
    runtime = catalogue.runtimes.build(Selection(setup.runtime, setup.runtime_options), setup.base)
    manifest = read_manifest(setup.bundle)
    executable = _executable(runtime, setup)
    read = partial(
        verdicts,
        classes=manifest.classes,
        reading=manifest.reading,
        temperature=manifest.temperature,
        top_k=setup.top_k,
        thresholds=manifest.thresholds,
        limits=_limits(manifest, setup),
        has_novelty=manifest.has_novelty,
    )
    gc.freeze()
    size = min(setup.batch_size or setup.max_batch, setup.max_batch)
    return Worker(executable, read, manifest.geometry, setup.limits, size, _alarm)


def _executable(runtime: "Runtime", setup: WorkerSetup) -> "Executable":
    from daemon.contracts import CompiledRuntime
    from daemon.sums import altered

    if setup.compiled is not None and isinstance(runtime, CompiledRuntime):
        if (name := altered(setup.compiled)) is not None:
            raise RuntimeLoadError(
                f"compiled model {setup.compiled}: {name} was altered; remove the folder, and it is"
                " compiled again at the next start"
            )
        return runtime.open(setup.compiled, setup.max_batch)
    return runtime.load(setup.bundle, setup.max_batch)


def _limits(manifest: "Manifest", setup: WorkerSetup) -> "Limits":
    """Take the bundle's limits of `unknown`, and those of the configuration over them."""
    from daemon.scores import Limits

    own = manifest.unknown
    threshold, novelty = (own.threshold, own.novelty) if own else (None, None)
    return Limits(
        threshold if setup.unknown_threshold is None else setup.unknown_threshold,
        novelty if setup.unknown_novelty is None else setup.unknown_novelty,
    )


def _limit_memory(limits: DecodeLimits) -> None:
    """Let the process grow by so much more than it has when warm; then allocations fail."""
    if not sys.platform.startswith("linux"):
        return
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    data_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmData" in line)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # each would be as large as the process
    most = data_kb * 1024 + limits.max_memory_mb * 1_000_000
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    # Pillow's large blocks come from mmap; give them back at once instead of fragmenting.
    allocator = ctypes.CDLL(None)
    allocator.mallopt(_M_MMAP_THRESHOLD, 1 << 22)
    # Naming that also drops the other limit to 128 kB: every image would be paged in anew.
    allocator.mallopt(_M_TRIM_THRESHOLD, 1 << 25)
