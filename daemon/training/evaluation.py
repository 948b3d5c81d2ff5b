"""How right a classifier is on images whose class is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.contracts import DecodeLimits
from daemon.scores import read_scores, split_novelty
from daemon.training.challenger import Challenger
from daemon.training.collect import Progress
from daemon.training.features import CHUNK, Labelled, compiled, read_pixels


@dataclass(frozen=True, slots=True)
class Scorecard:
    """`confusion[i, j]` counts the images of class i that the model takes for class j."""

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def images(self) -> int:
        """How many images were judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose surest class is right, 0 to 1."""
        return float(self.confusion.trace() / max(self.images, 1))

    def accuracy_by_class(self) -> dict[str, float]:
        """Share of each class's images that are recognised, 0 to 1."""
        totals = np.maximum(self.confusion.sum(axis=1), 1)
        shares = self.confusion.diagonal() / totals
        return {name: float(share) for name, share in zip(self.classes, shares, strict=True)}

    def mistakes(self) -> dict[str, dict[str, int]]:
        """Counts off the diagonal that are not 0: true class, then the class taken for it."""
        wrong = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        return {
            self.classes[true]: {
                self.classes[taken]: int(wrong[true, taken])
                for taken in np.flatnonzero(wrong[true])
            }
            for true in np.flatnonzero(wrong.any(axis=1))
        }


def score_images(
    challenger: Challenger, items: Sequence[Labelled], limits: DecodeLimits, progress: Progress
) -> Scorecard:
    """Run the whole classifier on the items as serving does; unreadable ones do not count."""
    run, geometry = compiled(challenger.model), challenger.recipe.geometry
    names, scores = [], [np.empty((0, challenger.model.output_shape[-1]), np.float32)]
    for number, chunk in enumerate(read_pixels(items, geometry, limits), 1):
        if chunk.items:
            names += [item.label for item in chunk.items]
            scores.append(run(chunk.images))
        progress("score", min(number * CHUNK, len(items)), len(items))
    raw, _ = split_novelty(np.concatenate(scores), challenger.has_novelty)
    return _scorecard(challenger.recipe.head.reading, challenger.classes, names, raw)


def _scorecard(
    reading: str, classes: Sequence[str], names: Sequence[str], scores: NDArray[np.float32]
) -> Scorecard:
    taken = read_scores(reading, scores).argmax(axis=1)
    true = [classes.index(name) for name in names]
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (true, taken), 1)
    return Scorecard(tuple(classes), confusion)
