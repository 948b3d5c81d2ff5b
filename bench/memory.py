"""What the daemon holds after few and after many images, in one run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.models import BUNDLED, make_model
from bench.pictures import small_images
from bench.plan import Plan, Say, scratch
from bench.processes import Usage, children, usage
from bench.report import Cell, Section, Table
from bench.served import Daemon

_FIRST = 200
_WAVE = 1000  # the daemon's queue of the kernel's news is never near its limit


@dataclass(frozen=True)
class Mark:
    """The daemon after so many images."""

    images: int
    main: Usage
    workers: Usage
    database_bytes: int

    @property
    def memory_mb(self) -> float:
        """Memory of all processes."""
        return self.main.memory_mb + self.workers.memory_mb

    @property
    def threads(self) -> int:
        """Threads of all processes."""
        return self.main.threads + self.workers.threads

    @property
    def descriptors(self) -> int:
        """Open files of all processes."""
        return self.main.descriptors + self.workers.descriptors

    @property
    def own_mb(self) -> float:
        """The part of it that no file is behind."""
        return self.main.own_mb + self.workers.own_mb


def measure(plan: Plan, say: Say) -> Section:
    """Feed small images and look at the daemon in between."""
    with scratch() as folder:
        model = make_model(BUNDLED, folder)
        pictures = small_images(folder / "outbox", plan.memory_images)
        say(f"memory: {pictures.what} are ready")
        with Daemon(folder / "daemon", model.bundle) as daemon:
            marks = list(_marks(daemon, pictures.files, say))
    notes = (
        f"{pictures.what} through {model.what}, in one run; memory is the proportional set"
        " size, own memory the part that no file is behind.",
        f"From {marks[1].images:,} to {marks[-1].images:,} images the memory of all processes grew"
        f" by {marks[-1].memory_mb - marks[1].memory_mb:.1f} MB, their own memory by"
        f" {marks[-1].own_mb - marks[1].own_mb:.1f} MB.",
        f"The database grew by {_bytes_each(marks):.0f} bytes an image.",
    )
    return Section("memory", "Memory", [marks_table(marks)], notes)


def _marks(daemon: Daemon, files: Sequence[Path], say: Say) -> Iterator[Mark]:
    done = 0
    for count in _counts(len(files)):
        wave_by_wave(daemon, files[done:count])
        done = count
        yield (found := mark(daemon, done))
        say(f"memory: {done:,} images, {found.memory_mb:.0f} MB")


def wave_by_wave(daemon: Daemon, files: Sequence[Path]) -> None:
    """Feed files, never so many at once that the kernel's news of them could be lost."""
    for first in range(0, len(files), _WAVE):
        daemon.run(files[first : first + _WAVE])


def _counts(total: int) -> list[int]:
    """Return after how many images to look: none, few, and quarters of all."""
    quarters = {total * part // 4 for part in (1, 2, 3, 4)}
    return [0, *sorted({min(_FIRST, total)} | {count for count in quarters if count > _FIRST})]


def mark(daemon: Daemon, images: int) -> Mark:
    """Look at the daemon after so many images."""
    workers = usage(children(daemon.pid))
    return Mark(images, usage([daemon.pid]), workers, daemon.database_bytes())


def _bytes_each(marks: Sequence[Mark]) -> float:
    first, last = marks[0], marks[-1]
    return (last.database_bytes - first.database_bytes) / (last.images - first.images)


def marks_table(marks: Sequence[Mark]) -> Table:
    """Return what the daemon held after so many images."""
    columns = (
        "images",
        "main, MB",
        "workers, MB",
        "all, MB",
        "own, MB",
        "threads",
        "file descriptors",
        "database, MB",
    )
    return Table("After so many images", columns, [_row(mark) for mark in marks])


def _row(mark: Mark) -> tuple[Cell, ...]:
    return (
        mark.images,
        round(mark.main.memory_mb, 1),
        round(mark.workers.memory_mb, 1),
        round(mark.memory_mb, 1),
        round(mark.own_mb, 1),
        mark.threads,
        mark.descriptors,
        round(mark.database_bytes / 1e6, 2),
    )
