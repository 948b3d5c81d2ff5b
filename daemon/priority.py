"""What a process of ours takes of the machine: it yields to others, and goes first where memory
runs out. All of it on Linux only."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

NICENESS = 19
TRAINING_SCORE, WORKER_SCORE = 500, 200
"""Where memory runs out, the kernel shall end training rather than a worker, and a worker, which
is replaced, rather than the daemon."""
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13


def yield_to_others() -> None:
    """Take only what time of processor and disk others leave, and memory last; to be called
    before other threads are started, which inherit it."""
    os.nice(NICENESS)
    number = _IOPRIO_SET.get(platform.machine())
    if sys.platform.startswith("linux") and number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
    go_first(TRAINING_SCORE)


def go_first(score: int) -> None:
    """Let the kernel end this process before others of a lower score; 0 is usual, 1000 most."""
    with contextlib.suppress(OSError):  # lowering it is refused, and so is any other system
        Path("/proc/self/oom_score_adj").write_text(f"{score}\n", "ascii")


def limit_memory(megabytes: int | None) -> None:
    """Let allocations fail past so many megabytes set aside, by default three quarters of the
    machine's: thread stacks and reserves make that a third more than is really used."""
    if not sys.platform.startswith("linux"):
        return
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = whole * 3 // 4 if megabytes is None else megabytes * 1_000_000
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
