"""What a run is to measure, and the few things that all sections share."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "bench" / "out"

Say = Callable[[str], None]
"""Prints a line of progress."""


@dataclass(frozen=True)
class Plan:
    """How much each section measures."""

    sections: tuple[str, ...]
    models: tuple[str, ...]
    runtimes: tuple[str, ...]
    rivals: tuple[str, ...]
    images: int
    turn_seconds: float
    seconds: int
    repeats: int
    memory_images: int
    soak_images: int
    rows: tuple[int, ...]
    files: tuple[int, ...]
    classes: tuple[int, ...]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the report, on a real disk, that is removed afterwards."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=OUT) as folder:
        yield Path(folder)
