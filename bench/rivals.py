"""Starts what the daemon is compared with, and times it."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.plan import ROOT
from bench.processes import cpu_seconds
from daemon.contracts import WorkerSetup

TITLES = {
    "decode": "(a) decoding alone",
    "infer": "(b) the model alone",
    "plain": "(d) plain loop",
    "dataset": "(e) dataset and `predict`",
    "bare": "(f) bare script",
}
_ONE_A_CORE = frozenset({"decode", "infer", "bare"})


@dataclass(frozen=True)
class Ran:
    """Images a second, and milliseconds of processor time for one image."""

    speed: float
    cpu_ms: float


class Rival:
    """Warm processes that go through files when told: one, or a single-threaded one a core."""

    def __init__(self, way: str, setup: WorkerSetup, folder: Path) -> None:
        file = folder / "setup.pickle"
        file.write_bytes(pickle.dumps(setup))
        count = len(os.sched_getaffinity(0)) if way in _ONE_A_CORE else 1
        command = [sys.executable, "-m", "bench.rival", way, str(file)]
        threads = {"OMP_NUM_THREADS": "1"} if way in _ONE_A_CORE else {}
        self._processes = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **threads},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]

    def __enter__(self) -> "Rival":
        for process in self._processes:
            _expect(process, "ready")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            _pipe(process.stdin).close()
        for process in self._processes:
            process.wait(60)

    def run(self, files: Sequence[Path]) -> Ran:
        """Go through these files, dealt out to the processes."""
        count = len(self._processes)
        shares = [json.dumps([str(path) for path in files[n::count]]) for n in range(count)]
        pids = [process.pid for process in self._processes]
        began, cpu = time.perf_counter(), cpu_seconds(pids)
        for process, share in zip(self._processes, shares, strict=True):
            print(share, file=_pipe(process.stdin), flush=True)
        for process in self._processes:
            _expect(process, "done")
        seconds, used = time.perf_counter() - began, cpu_seconds(pids) - cpu
        return Ran(len(files) / seconds, 1000 * used / len(files))


def _expect(process: subprocess.Popen[str], word: str) -> None:
    said = _pipe(process.stdout).readline().strip()
    if said != word:
        process.wait(60)
        raise RuntimeError(f"{process.args} ended with {process.returncode}; see above")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
