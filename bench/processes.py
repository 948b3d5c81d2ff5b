"""What Linux tells of a process and those it started: memory, processor time, open things."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What some processes hold.

    `memory_mb` is their proportional set sizes added up: a page that several share counts once.
    `own_mb` is the part that no file is behind.
    """

    memory_mb: float
    own_mb: float
    threads: int
    descriptors: int


def children(pid: int) -> list[int]:
    """Return all processes below `pid`."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(child) for text in lists for child in text.read_text().split()]
    return direct + [below for child in direct for below in children(child)]


def usage(pids: Iterable[int]) -> Usage:
    """Return what these processes hold together."""
    each = list(_usages(pids))
    return Usage(
        sum(one.memory_mb for one in each),
        sum(one.own_mb for one in each),
        sum(one.threads for one in each),
        sum(one.descriptors for one in each),
    )


def _usages(pids: Iterable[int]) -> Iterator[Usage]:
    for pid in pids:
        with suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
            yield _usage(Path(f"/proc/{pid}"))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that these processes have taken so far."""
    return sum(map(_ticks, pids)) / _TICKS


def _usage(process: Path) -> Usage:
    maps = (process / "smaps_rollup").read_text()
    return Usage(
        memory_mb=_megabytes(maps, "Pss:"),
        own_mb=_megabytes(maps, "Anonymous:"),
        threads=len(list((process / "task").iterdir())),
        descriptors=len(list((process / "fd").iterdir())),
    )


def _megabytes(maps: str, name: str) -> float:
    line = next(line for line in maps.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def _ticks(pid: int) -> int:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (ProcessLookupError, FileNotFoundError):
        return 0  # it has ended meanwhile, as a training run may
    return int(after_name[11]) + int(after_name[12])
