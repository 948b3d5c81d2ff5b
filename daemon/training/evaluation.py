"""How right a classifier is on images whose class is known, spoilt ones too."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.contracts import DecodeLimits
from daemon.learning.dataset import Dataset, Example
from daemon.learning.scorecard import Card, figures, robustness
from daemon.scores import read_scores, split_novelty
from daemon.training.bench import Bench
from daemon.training.challenger import Challenger
from daemon.training.collect import Progress
from daemon.training.features import CHUNK, Labelled, compiled, read_pixels
from daemon.training.progression import learning_curve

_MOST_TRAINED = 2000
"""Images that the classifier learned from and is asked about again, to see overfitting."""
_MOST_SPOILT = 300


def score_images(
    challenger: Challenger, items: Sequence[Labelled], limits: DecodeLimits, progress: Progress
) -> Card:
    """Run the whole classifier on the items as serving does; unreadable ones do not count."""
    run, geometry = compiled(challenger.model), challenger.recipe.geometry
    read: list[Labelled] = []
    scores = [np.empty((0, challenger.model.output_shape[-1]), np.float32)]
    for number, chunk in enumerate(read_pixels(items, geometry, limits), 1):
        if chunk.items:
            read += chunk.items
            scores.append(run(chunk.images))
        progress("score", min(number * CHUNK, len(items)), len(items))
    return Card(
        challenger.classes,
        tuple(item.sha256 for item in read),
        tuple(item.label for item in read),
        _confidences(challenger, np.concatenate(scores)),
        tuple(str(item.path.parent) for item in read),
    )


def measure(challenger: Challenger, dataset: Dataset, bench: Bench) -> dict[str, Any]:
    """Return the scorecard of a challenger as JSON values.

    Held-out images, overfitting, calibration, accuracy on spoilt images, what its strategy
    measured itself, and the learning curve.
    """
    unseen, seen = (
        score_images(challenger, examples, bench.limits, bench.progress)
        for examples in (dataset.on("holdout"), spread(dataset.on("train"), _MOST_TRAINED))
    )
    spoilt = _robustness(challenger, spread(dataset.on("holdout"), _MOST_SPOILT), bench)
    settled = challenger.plan.options if challenger.plan else {}
    own = replace(bench, recipe=challenger.recipe)
    return {
        **figures(unseen, seen, spoilt),
        **challenger.metrics,
        "learning_curve": learning_curve(dataset, own, settled.get("strength")),
    }


def spread(examples: Sequence[Example], most: int) -> Sequence[Example]:
    """Return at most so many examples, evenly from all."""
    if len(examples) <= most:
        return examples
    return [examples[row] for row in np.linspace(0, len(examples) - 1, most).astype(int)]


def _robustness(
    challenger: Challenger, examples: Sequence[Example], bench: Bench
) -> dict[str, float]:
    run = compiled(challenger.model)
    images, labels = [], []
    for chunk in read_pixels(examples, challenger.recipe.geometry, bench.limits):
        images.append(chunk.images)
        labels += [item.label for item in chunk.items]

    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [run(pixels[start : start + CHUNK]) for start in range(0, len(pixels), CHUNK)]
        return _confidences(challenger, np.concatenate(parts))

    if not labels:
        return {}
    return robustness(np.concatenate(images), labels, challenger.classes, score)


def _confidences(challenger: Challenger, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(scores):
        return np.empty((0, len(challenger.classes)), np.float32)
    raw, _ = split_novelty(scores, challenger.has_novelty)
    return read_scores(challenger.recipe.head.reading, raw, challenger.temperature)
