"""The method from labelled images to a classifier: a pretrained backbone, frozen, and a new head.

Transfer learning as Yosinski et al., "How transferable are features in deep neural networks?"
(2014), describe it: what the front of a network learned on many images serves for others, so
only the back has to be trained, on few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from daemon.contracts import Retrainer
from daemon.domain import ImageFacts
from daemon.errors import TrainingError
from daemon.learning.dataset import Dataset, Example
from daemon.learning.schedule import Plan
from daemon.training.bench import Bench
from daemon.training.challenger import Challenger
from daemon.training.collect import Collection, Item, Skipped, check_enough
from daemon.training.evaluation import measure
from daemon.training.features import Features
from daemon.training.probing import read_features
from daemon.training.split import Side, alike, split_holdout

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class TrainedImage:
    """One image that took part: where it was found, what it is, its class and its side."""

    path: Path
    label: str
    side: Side
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of class folders; nothing is on disk yet."""

    challenger: Challenger
    metrics: dict[str, JsonValue]
    images: tuple[TrainedImage, ...]
    skipped: tuple[Skipped, ...]

    @property
    def model(self) -> "keras.Model":
        """The fitted classifier."""
        return self.challenger.model

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return self.challenger.classes


def train(
    collection: Collection,
    retrainer: Retrainer,
    plan: Plan,
    bench: Bench,
    known: Mapping[str, Side] | None = None,
) -> Trained:
    """Make a classifier from class folders and judge it on the fifth that it never saw.

    `known` are sides (by SHA-256) that were settled before. Raises `TrainingError` when too few
    images can be read, `WeightsError`, `ConfigError`.
    """
    classes = collection.classes
    features = read_features(bench, classes, collection.items, plan.seed)
    check_enough(classes, features.items, (*collection.skipped, *features.skipped))
    sides = split_holdout(features.items, plan.seed, known=known, together=alike(features))
    dataset = _dataset(classes, features, sides)
    _check_split(classes, dataset.on("train"), dataset.on("holdout"))
    challenger = retrainer.train(plan, dataset, bench)
    return Trained(
        challenger,
        measure(challenger, dataset, bench),
        _images(features, sides),
        (*collection.skipped, *features.skipped),
    )


def _dataset(
    classes: tuple[str, ...], features: Features[Item], sides: Mapping[str, Side]
) -> Dataset:
    pairs = zip(features.items, features.facts, strict=True)
    return Dataset(
        classes,
        tuple(
            Example(
                sha256=item.sha256,
                path=item.path,
                label=item.label,
                side=sides[item.sha256],
                phash=facts.phash,
                taken_at=facts.taken_at,
                folder=str(item.path.parent),
            )
            for item, facts in pairs
        ),
    )


def _check_split(
    classes: Sequence[str], learned: Iterable[Example], held_out: Sequence[Example]
) -> None:
    missing = set(classes) - {item.label for item in learned}
    if missing:
        raise TrainingError(
            f"every image of class {min(missing)!r} is held out, none is left to learn from:"
            " add images to its folder"
        )
    if not held_out:
        raise TrainingError(
            "all images of each class look alike (or were taken within seconds of each other), so"
            " none can be held out to judge by: add images that differ"
        )


def _images(features: Features[Item], sides: Mapping[str, Side]) -> tuple[TrainedImage, ...]:
    return tuple(
        TrainedImage(item.path, item.label, sides[item.sha256], facts)
        for item, facts in zip(features.items, features.facts, strict=True)
    )
