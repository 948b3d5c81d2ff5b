"""What training comes to: a fitted classifier with all that is known of it, not yet on disk."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from daemon.classifier import resolve_weights
from daemon.contracts import Backbone, Head
from daemon.learning.schedule import Plan
from daemon.manifest import BackbonePart, Manifest, Part, Reading, Unknown
from daemon.preprocessing import Geometry
from daemon.scores import Limits

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HeadPart:
    """A head and the options it was built with."""

    head: Head
    options: Mapping[str, JsonValue] = field(default_factory=dict)


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
class OutOfFold:
    """Answers on training images by models that had not learned from them.

    Of the images (SHA-256) that could be judged: class numbers `[N]` (0 and 1 `[N, C]` where
    images have several classes), raw scores `[N, C]`, and
    novelty `[N]` against the features of what that model had learned from.
    """

    sha256s: tuple[str, ...]
    truth: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"
    novelty: "NDArray[np.float32]"

    def on(self, sha256s: Collection[str]) -> "OutOfFold":
        """Return the answers on these images only."""
        rows = [row for row, sha256 in enumerate(self.sha256s) if sha256 in sha256s]
        names = tuple(self.sha256s[row] for row in rows)
        return OutOfFold(names, self.truth[rows], self.scores[rows], self.novelty[rows])


@dataclass(frozen=True, slots=True)
class Challenger:
    """A fitted classifier; nothing is on disk yet.

    `recipe` holds the head that was chosen. `plan` repeats the run without asking the clock
    again. `reasons` tell in sentences what was chosen and why. `unknown` and `temperature` come
    from `out_of_fold`; `has_novelty` says that the model gives one column more than scores.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    model: "keras.Model"
    plan: Plan | None = None
    temperature: float = 1.0
    unknown: Unknown | None = None
    has_novelty: bool = False
    out_of_fold: OutOfFold | None = None
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """Where `unknown` begins."""
        own = self.unknown
        return Limits(own.threshold, own.novelty) if own else Limits()


def make_manifest(
    challenger: Challenger, metrics: Mapping[str, JsonValue], name: str, created_at: str
) -> Manifest:
    """Describe a fitted classifier for its bundle; `created_at` is UTC ISO-8601."""
    recipe = challenger.recipe
    weights = resolve_weights(recipe.backbone, recipe.weights)
    return Manifest(
        name=name,
        created_at=created_at,
        classes=challenger.classes,
        geometry=recipe.geometry,
        scaling=recipe.backbone.scaling,
        backbone=BackbonePart(
            name=recipe.backbone.name, options=dict(recipe.backbone_options), weights=weights
        ),
        head=Part(name=recipe.head.name, options=dict(recipe.head_options)),
        reading=cast(Reading, recipe.head.reading),
        temperature=challenger.temperature,
        unknown=challenger.unknown,
        has_novelty=challenger.has_novelty,
        metrics=dict(metrics),
    )
