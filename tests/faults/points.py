"""Every point of a life in turn: killed there, or the power cut there; then the audit."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .gate import Action
from .life import Life

Lived = Callable[[Life], None]
Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Point:
    """Where a life is to end, and how."""

    number: int
    cuts: bool


@dataclass(frozen=True)
class Ended:
    """What came of a life that was ended at a point; `at` is the action that did not happen."""

    point: Point
    at: str
    files: int
    wrong: tuple[str, ...]
    log: str


def no_preparation(_folder: Path) -> None:
    """Begin in an empty folder."""


@dataclass(frozen=True)
class Enumeration:
    """The points of one kind of life, each met in a folder of its own below `scratch`."""

    lived: Lived
    scratch: Path
    make: Callable[..., Life] = Life
    prepare: Prepare = no_preparation

    def count(self) -> list[str]:
        """Live once to the end and return the points met, in words."""
        with self._folder() as folder:
            life = self.make(folder)
            life.live(self.lived)
            assert not life.killed
            return [_words(action, folder) for action in life.met]

    def end_at(self, point: Point) -> Ended:
        """Live until the point, and see whether all comes right again."""
        with self._folder() as folder:
            life = self.make(folder, point.number, point.cuts)
            life.live(self.lived)
            at = _words(life.met[-1], folder) if life.killed else "the end"
            wrong = tuple(life.aftermath())
            files = life.daemon.query("SELECT count(*) FROM file")[0][0]
            return Ended(point, at, files, wrong, life.daemon.log.read_text("utf-8", "replace"))

    def end_at_each(self, points: Iterable[Point], at_once: int) -> Iterator[Ended]:
        """End a life at each point."""
        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(self.end_at, points)

    def _folder(self) -> "_Folder":
        return _Folder(self.scratch, self.prepare)


class _Folder(tempfile.TemporaryDirectory[str]):
    def __init__(self, scratch: Path, prepare: Prepare) -> None:
        super().__init__(dir=scratch, ignore_cleanup_errors=True)
        self._prepare = prepare

    def __enter__(self) -> Path:
        folder = Path(super().__enter__()).resolve()
        self._prepare(folder)
        return folder


def chosen(count: int, most: int | None, seed: int) -> list[Point]:
    """Return the points of a life of `count`: all, both ways, or `most` of them drawn."""
    every = [Point(number, cuts) for number in range(count) for cuts in (False, True)]
    if most is None or most >= len(every):
        return every
    return sorted(random.Random(seed).sample(every, most), key=lambda p: (p.number, p.cuts))


def kinds(met: Iterable[str]) -> dict[str, int]:
    """Count points by what they are."""
    return dict(Counter(met).most_common())


def _words(action: Action, folder: Path) -> str:
    path = action.path.relative_to(folder)
    name = "a bundle" if path.parts[:2] == ("state", "models") and path.parts[2:] else path
    return f"{action.kind} {name}"


def copied(template: Path) -> Prepare:
    """Begin in a copy of a folder."""

    def prepare(folder: Path) -> None:
        shutil.copytree(template, folder, dirs_exist_ok=True)

    return prepare
