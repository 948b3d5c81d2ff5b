"""The method from labelled images to a classifier: a pretrained backbone, frozen, and a new head.

Transfer learning as Yosinski et al., "How transferable are features in deep neural networks?"
(2014), describe it: what the front of a network learned on many images serves for others, so
only the back has to be trained, on few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from daemon.classifier import build_classifier, resolve_weights
from daemon.contracts import Backbone, DecodeLimits, Head
from daemon.domain import ImageFacts
from daemon.errors import TrainingError
from daemon.manifest import BackbonePart, Manifest, Part, Reading
from daemon.preprocessing import Geometry
from daemon.training.collect import Collection, Item, Progress, Skipped, check_enough
from daemon.training.evaluation import Scorecard, score_images, score_rows
from daemon.training.features import Features, cut, extract_features
from daemon.training.fitting import HeadTraining, fit_head
from daemon.training.split import Side, alike, split_holdout

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a classifier is built from; the options are those the two parts were built with.

    `weights` is `auto`, one of the backbone's choices, or the path of a weights file.
    """

    backbone: Backbone
    head: Head
    geometry: Geometry
    weights: str = "auto"
    backbone_options: Mapping[str, JsonValue] = field(default_factory=dict)
    head_options: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainedImage:
    """One image that took part: where it was found, what it is, its class and its side."""

    path: Path
    label: str
    side: Side
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted classifier with all that is known of it; nothing is on disk yet."""

    model: "keras.Model"
    classes: tuple[str, ...]
    metrics: dict[str, JsonValue]
    images: tuple[TrainedImage, ...]
    skipped: tuple[Skipped, ...]


def train(
    collection: Collection,
    recipe: Recipe,
    options: HeadTraining,
    limits: DecodeLimits,
    scratch: Path,
    progress: Progress,
    known: Mapping[str, Side] | None = None,
) -> Trained:
    """Make a classifier from labelled images and judge it on the fifth that it never saw.

    `known` are sides (by SHA-256) that were settled before; `scratch` is a folder for the
    features. Raises `TrainingError` when too few images can be read, `WeightsError`,
    `ConfigError`.
    """
    import keras

    classes = collection.classes
    keras.utils.set_random_seed(options.seed)
    model = build_classifier(recipe.backbone, recipe.head, classes, recipe.geometry, recipe.weights)
    front, back = cut(model)
    features = extract_features(front, collection.items, recipe.geometry, limits, scratch, progress)
    check_enough(classes, features.items, (*collection.skipped, *features.skipped))
    together = alike(features)
    sides = split_holdout(features.items, options.seed, known=known, together=together)
    learned = _on_side(features.items, sides, "train")
    held_out = _on_side(features.items, sides, "holdout")
    _check_split(classes, learned, held_out)
    epochs = _fit(back, recipe.head, classes, features, learned, together, options, progress)
    seen = score_rows(back, recipe.head.reading, classes, features, learned)
    unseen = score_images(
        model, recipe.head.reading, classes, held_out, recipe.geometry, limits, progress
    )
    return Trained(
        model,
        classes,
        _metrics(unseen, seen, epochs),
        _images(features, sides),
        (*collection.skipped, *features.skipped),
    )


def make_manifest(recipe: Recipe, trained: Trained, name: str, created_at: str) -> Manifest:
    """Describe a fitted classifier for its bundle; `created_at` is UTC ISO-8601."""
    weights = resolve_weights(recipe.backbone, recipe.weights)
    return Manifest(
        name=name,
        created_at=created_at,
        classes=trained.classes,
        geometry=recipe.geometry,
        scaling=recipe.backbone.scaling,
        backbone=BackbonePart(
            name=recipe.backbone.name, options=dict(recipe.backbone_options), weights=weights
        ),
        head=Part(name=recipe.head.name, options=dict(recipe.head_options)),
        reading=cast(Reading, recipe.head.reading),
        metrics=trained.metrics,
    )


def _fit(
    back: "keras.Model",
    head: Head,
    classes: Sequence[str],
    features: Features,
    learned: Sequence[Item],
    together: Sequence[Sequence[str]],
    options: HeadTraining,
    progress: Progress,
) -> int:
    """Fit on the training side, a part of which only says when to stop."""
    parts = split_holdout(learned, options.seed + 1, options.validation, together=together)
    if "holdout" not in parts.values():  # every class is one group: better judged by likes than not
        parts = split_holdout(learned, options.seed + 1, options.validation)
    return fit_head(
        back,
        head,
        classes,
        features,
        _on_side(learned, parts, "train"),
        _on_side(learned, parts, "holdout"),
        options,
        progress,
    )


def _on_side(items: Iterable[Item], sides: Mapping[str, Side], side: Side) -> list[Item]:
    return [item for item in items if sides[item.sha256] == side]


def _check_split(classes: Sequence[str], learned: Iterable[Item], held_out: Sequence[Item]) -> None:
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


def _images(features: Features, sides: Mapping[str, Side]) -> tuple[TrainedImage, ...]:
    return tuple(
        TrainedImage(item.path, item.label, sides[item.sha256], facts)
        for item, facts in zip(features.items, features.facts, strict=True)
    )


def _metrics(unseen: Scorecard, seen: Scorecard, epochs: int) -> dict[str, JsonValue]:
    return {
        "holdout_accuracy": round(unseen.accuracy, 4),
        "holdout_images": unseen.images,
        "holdout_accuracy_by_class": {
            name: round(share, 4) for name, share in unseen.accuracy_by_class().items()
        },
        "holdout_mistakes": {true: dict(taken) for true, taken in unseen.mistakes().items()},
        "training_accuracy": round(seen.accuracy, 4),
        "training_images": seen.images,
        "epochs": epochs,
    }
