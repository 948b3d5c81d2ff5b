"""Five stratified folds over the flowers, the same for every method, and strangers to try it on."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.learning.dataset import Dataset, Example

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
FOLDS, SIZES = 5, (120, 20, 5, 50, 10)
_SEED = 7
_STRANGERS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """Learn from `size` images a class, be tested on one fold."""

    size: int
    fold: int


class Flowers:
    """The photographs; every image is tested once, smaller trainings are parts of larger ones."""

    def __init__(self, data: Path = DATA) -> None:
        self._paths = sorted((data / "flowers").glob("*/*.jpg"))
        self._sha256 = [hashlib.sha256(p.read_bytes()).hexdigest() for p in self._paths]
        self.classes = tuple(sorted({path.parent.name for path in self._paths}))

    def dataset(self, task: Task) -> Dataset:
        """Return a task's training side, and its fold as the holdout."""
        chosen: list[Example] = []
        for number, name in enumerate(self.classes):
            rows = [row for row, path in enumerate(self._paths) if path.parent.name == name]
            drawn = np.random.default_rng([_SEED, number]).permutation(rows)
            fold = np.arange(len(drawn)) % FOLDS
            tested = drawn[fold == task.fold]
            learned = drawn[fold != task.fold][: task.size]
            chosen += [self._example(row, "train") for row in learned]
            chosen += [self._example(row, "holdout") for row in tested]
        return Dataset(self.classes, tuple(chosen))

    def _example(self, row: int, side: str) -> Example:
        path = self._paths[row]
        return Example(
            self._sha256[row], path, path.parent.name, side, "0" * 16, None, str(path.parent)
        )


def strangers(folder: Path, data: Path = DATA) -> dict[str, list[Example]]:
    """Return images of other things: photographs, and some of CIFAR-10, unpacked into `folder`."""
    photos = sorted((data / "photos").glob("*.JPEG"))
    return {"photos": _examples(photos), "cifar10": _examples(_unpacked(folder, data))}


def _unpacked(folder: Path, data: Path) -> list[Path]:
    with zipfile.ZipFile(data / "cifar10" / "test.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".png")))
        drawn = np.random.default_rng(_SEED).choice(names, _STRANGERS, replace=False)
        return [Path(archive.extract(str(name), folder)) for name in sorted(drawn)]


def _examples(paths: Sequence[Path]) -> list[Example]:
    return [
        Example(hashlib.sha256(p.read_bytes()).hexdigest(), p, "", "holdout", "0" * 16, None, "")
        for p in paths
    ]
