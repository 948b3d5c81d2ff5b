"""Whether a process has outgrown its warm level: decoders and runtimes may leak, month by month."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_WARM_UP = 20
"""Batches until all that is made at first use has been made."""

_PAGE = 4096


def held_bytes() -> int:
    """Return the memory of this process that no other shares and no file backs, in bytes."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * _PAGE


def release() -> None:
    """Give back what is free but still held: garbage, and the allocator's reserve."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


class Growth:
    """Compares what a process holds after each batch with what it held after the first few."""

    def __init__(self, most: int, held: Callable[[], int] = held_bytes) -> None:
        """`most`: bytes that it may grow by."""
        self._most = most
        self._held = held
        self._batches = 0
        self._warm = 0

    def complaint(self) -> str | None:
        """Say, after a batch, why the process must be replaced; None where it may go on."""
        self._batches += 1
        if self._batches <= _WARM_UP:
            self._warm = self._held()
            return None
        if self._held() - self._warm <= self._most:
            return None
        release()
        grown = self._held() - self._warm
        if grown <= self._most:
            return None
        return f"it has grown by {grown // 1_000_000:,} MB in {self._batches:,} batches"
