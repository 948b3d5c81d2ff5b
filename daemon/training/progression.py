"""The learning curve of a dataset: a probe on ever more of the labels, judged on the holdout."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from daemon.learning.curve import Curve, Point, curves, nested
from daemon.learning.dataset import Dataset, Example
from daemon.training.bench import Bench
from daemon.training.probing import Probe, is_solved


def learning_curve(
    dataset: Dataset, bench: Bench, strength: float | None, seed: int = 0
) -> list[dict[str, Any]]:
    """Return a curve for all classes together and for each, as JSON values.

    Whatever strategy made the model, the curve is that of a head on frozen features, which shows
    the same growth for a small part of the time. Empty where no image is held out, and for a head
    that is trained by descent once the budget is spent.
    """
    held_out = dataset.on("holdout")
    if not held_out or not (is_solved(bench.recipe.head) or bench.left_s()):
        return []
    probe = Probe(bench, dataset.classes, dataset.examples, seed)
    usable = {example.sha256 for example in probe.examples}
    judged = [example for example in held_out if example.sha256 in usable]
    learned = [example for example in dataset.on("train") if example.sha256 in usable]
    if strength is None:
        strengths = probe.strengths()
        strength = strengths[len(strengths) // 2]
    points: dict[str, list[Point]] = defaultdict(list)
    for part in nested(learned, seed):
        for label, point in _points(probe, part, judged, strength).items():
            points[label].append(point)
    return [_as_json(each) for each in curves(points)]


def _as_json(curve: Curve) -> dict[str, Any]:
    return {**asdict(curve), "points": [asdict(point) for point in curve.points]}


def _points(
    probe: Probe, learned: Sequence[Example], judged: Sequence[Example], strength: float
) -> dict[str, Point]:
    scores = probe.fit(learned, strength)(judged).scores
    taken = [probe.classes[number] for number in _surest(scores, len(probe.classes))]
    right = Counter(e.label for e, name in zip(judged, taken, strict=True) if e.label == name)
    images = Counter(example.label for example in judged)
    labels = Counter(example.label for example in learned)
    return {name: Point(labels[name], right[name], images[name]) for name in probe.classes}


def _surest(scores: "np.ndarray[Any, Any]", classes: int) -> list[int]:
    """Return each row's surest class; two classes may be told by one number."""
    if scores.shape[1] < classes:
        return [int(row[0] > 0.5) for row in scores]
    return [int(number) for number in scores.argmax(axis=1)]
