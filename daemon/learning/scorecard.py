"""What a model gets right, where, how sure it is of it, and how it stands bad pictures."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

BINS = 10
UNKNOWN_CLASS = -1

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Card:
    """What one model version says of images whose class is known.

    `labels` holds the true class of each image, which the model need not know; `confidences` is
    calibrated, `float32[N, C]`, C the model's `classes`; `folders` may be left out.
    """

    classes: tuple[str, ...]
    sha256s: tuple[str, ...]
    labels: tuple[str, ...]
    confidences: NDArray[np.float32]
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = len(self.sha256s), len(self.classes)
        if self.confidences.shape != shape or len(self.labels) != shape[0]:
            raise ValueError(
                f"a scorecard of {shape[0]} images, {len(self.labels)} labels and {shape[1]}"
                f" classes does not fit confidences of shape {self.confidences.shape}"
            )

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """Class numbers `[N]`; `UNKNOWN_CLASS` where the model does not know the class."""
        number = {name: place for place, name in enumerate(self.classes)}
        return np.array([number.get(name, UNKNOWN_CLASS) for name in self.labels], np.int64)

    @cached_property
    def taken(self) -> NDArray[np.int64]:
        """The class number that the model is surest of, `[N]`."""
        return np.asarray(self.confidences.argmax(axis=1), np.int64)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether the surest class is the true one, `[N]`."""
        return np.asarray(self.taken == self.truth)

    @property
    def accuracy(self) -> float:
        """Share of images that are right, 0 to 1; 0 without images."""
        return float(self.right.mean()) if len(self.right) else 0.0

    def accuracy_by_class(self) -> dict[str, float]:
        """Share of each true class's images that are right, 0 to 1."""
        return _shares(self.labels, self.right)

    def accuracy_by_folder(self) -> dict[str, float]:
        """Share of each source folder's images that are right, 0 to 1."""
        return _shares(self.folders, self.right)

    def mistakes(self) -> dict[str, dict[str, int]]:
        """How often each true class was taken for which other."""
        found: dict[str, dict[str, int]] = {}
        for label, taken in zip(self.labels, self.taken, strict=True):
            if label != (other := self.classes[taken]):
                counts = found.setdefault(label, {})
                counts[other] = counts.get(other, 0) + 1
        return {label: found[label] for label in sorted(found)}

    def calibration_error(self, bins: int = BINS) -> float:
        """Return the expected calibration error, 0 to 1.

        The mean distance between confidence and share of right answers, over bins of equal
        count (Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural
        language processing models", 2015).
        """
        if not len(self.right):
            return 0.0
        sure = self.confidences.max(axis=1).astype(float)
        order = np.lexsort((np.array(self.sha256s), sure))  # equal ones in no order of meaning
        parts = [part for part in np.array_split(order, bins) if len(part)]
        gaps = [len(part) * abs(sure[part].mean() - self.right[part].mean()) for part in parts]
        return float(sum(gaps) / len(order))

    def on(self, sha256s: Iterable[str]) -> "Card":
        """Return the card of these images only, in its own order."""
        wanted = set(sha256s)
        rows = [row for row, sha256 in enumerate(self.sha256s) if sha256 in wanted]
        return Card(
            self.classes,
            tuple(self.sha256s[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            self.confidences[rows],
            tuple(self.folders[row] for row in rows) if self.folders else (),
        )


def _shares(names: Sequence[str], right: NDArray[np.bool_]) -> dict[str, float]:
    known = np.array(names, dtype=object)
    return {name: float(right[known == name].mean()) for name in sorted(set(names))}


def figures(
    holdout: Card, training: Card | None = None, robustness: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return everything a model version's `metrics` keep, as JSON values of 4 decimals.

    `gap` is how much more of the training side is right than of the holdout: overfitting.
    """
    told: dict[str, Any] = {
        "holdout_accuracy": round(holdout.accuracy, 4),
        "holdout_images": len(holdout.sha256s),
        "holdout_accuracy_by_class": _rounded(holdout.accuracy_by_class()),
        "holdout_accuracy_by_folder": _rounded(holdout.accuracy_by_folder()),
        "holdout_mistakes": holdout.mistakes(),
        "calibration_error": round(holdout.calibration_error(), 4),
    }
    if training is not None:
        told["training_accuracy"] = round(training.accuracy, 4)
        told["training_images"] = len(training.sha256s)
        told["gap"] = round(training.accuracy - holdout.accuracy, 4)
    if robustness is not None:
        told["robustness"] = _rounded(robustness)
    return told


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, 4) for name, share in shares.items()}


def robustness(
    images: Pixels,
    labels: Sequence[str],
    classes: Sequence[str],
    score: Callable[[Pixels], NDArray[np.float32]],
    seed: int = 0,
) -> dict[str, float]:
    """Return the accuracy, 0 to 1, on `uint8[N, H, W, 3]` spoilt in each way of `CORRUPTIONS`.

    `score` gives confidences `float32[N, C]` for pixels and may be asked for any number at once.
    """
    known = np.array(labels, dtype=object)
    names = np.array(classes, dtype=object)
    result = {}
    for name, spoil in CORRUPTIONS.items():
        taken = score(spoil(images, np.random.default_rng(seed))).argmax(axis=1)
        result[name] = float((names[taken] == known).mean()) if len(known) else 0.0
    return result


def blur(images: Pixels, _random: np.random.Generator) -> Pixels:
    """Blur with a Gaussian of 3 pixels where a side has 224."""
    from PIL import ImageFilter

    kernel = ImageFilter.GaussianBlur(3 * min(images.shape[1:3]) / 224)
    return _each(images, lambda image: image.filter(kernel))


def noise(images: Pixels, random: np.random.Generator) -> Pixels:
    """Add Gaussian noise with a deviation of 0.18 of the range."""
    spoilt = np.empty_like(images)
    for row, image in enumerate(images):
        grain = random.normal(0, 0.18 * 255, image.shape)
        spoilt[row] = np.clip(image + grain, 0, 255).round()
    return spoilt


def brighter(images: Pixels, _random: np.random.Generator) -> Pixels:
    """Raise the brightness (the largest channel) by 0.3 of the range, hue and saturation kept."""
    spoilt = np.empty_like(images)
    for row, image in enumerate(images):
        value = np.maximum(image.max(axis=2, keepdims=True).astype(np.float32), 1)
        spoilt[row] = np.clip(image * (np.minimum(value + 0.3 * 255, 255) / value), 0, 255).round()
    return spoilt


def jpeg(images: Pixels, _random: np.random.Generator) -> Pixels:
    """Compress as JPEG of quality 15."""
    return _each(images, _compressed)


CORRUPTIONS: Mapping[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blur": blur,
    "noise": noise,
    "brightness": brighter,
    "jpeg": jpeg,
}
"""Ways to spoil pixels, at the middle severity of ImageNet-C (Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019)."""


def _compressed(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=15)
    return Image.open(buffer).convert("RGB")


def _each(images: Pixels, change: "Callable[[Image.Image], Image.Image]") -> Pixels:
    from PIL import Image

    spoilt = np.empty_like(images)
    for row, image in enumerate(images):
        spoilt[row] = np.asarray(change(Image.fromarray(image)))
    return spoilt
