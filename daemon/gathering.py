"""What can be learned from the labels there are: which images, on which side, and what is not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from daemon.errors import TrainingError
from daemon.labels.siding import settle_sides
from daemon.learning.dataset import Dataset, Example
from daemon.locating import locate
from daemon.store.labelled import LabelledImage, LabelledImages
from daemon.store.runs import TrainingRuns
from daemon.training.collect import Progress, Skipped

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_LEAST_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Gathered:
    """The labelled images whose files are there and whose classes have enough of them.

    `left_out` have a label and cannot be used, each with the reason; `waiting` counts the images
    of classes that have too few.
    """

    dataset: Dataset
    left_out: tuple[Skipped, ...]
    waiting: Mapping[str, int]


def gather(
    engine: "Engine",
    now: str,
    min_per_class: int,
    progress: Progress,
    as_of: str | None = None,
    many: bool = False,
) -> Gathered:
    """Put labelled images on their sides where they have none, and gather all that can be used.

    `as_of` takes the labels as they stood at a moment; `many` keeps all labels of an image in
    place of the newest. `progress` is told of the stage `find`.
    Raises `TrainingError` when fewer than two classes have `min_per_class` images.
    """
    settle_sides(engine, now)
    labelled = LabelledImages(engine)
    images = labelled.now() if as_of is None else labelled.as_of(as_of)
    if not many:
        images = [replace(image, labels=image.labels[:1]) for image in images]
    paths = {image.sha256: image.paths for image in images}
    found = locate(paths, TrainingRuns(engine).folders(), progress)
    left_out = [skipped for image in images if (skipped := _unusable(image, found))]
    usable = [image for image in images if image.sha256 in found and image.side != "none"]
    counts = Counter(label for image in usable for label in image.labels)
    classes = tuple(sorted(name for name in counts if counts[name] >= min_per_class))
    waiting = {name: counts[name] for name in sorted(counts) if counts[name] < min_per_class}
    if len(classes) < _LEAST_CLASSES:
        raise TrainingError(_too_few(counts, left_out, min_per_class))
    examples = [_example(image, found[image.sha256], classes) for image in usable]
    dataset = Dataset(classes, tuple(example for example in examples if example is not None))
    return Gathered(dataset, tuple(left_out), waiting)


def keep(gathered: Gathered, readable: Iterable[str], skipped: Sequence[Skipped]) -> Gathered:
    """Return what is left of it once images (SHA-256) that cannot be decoded are taken out.

    Raises `TrainingError` when a side is then empty, or has lost a whole class to learn from.
    """
    there = set(readable)
    dataset = gathered.dataset
    examples = tuple(example for example in dataset.examples if example.sha256 in there)
    left = Gathered(
        Dataset(dataset.classes, examples), (*gathered.left_out, *skipped), gathered.waiting
    )
    learned = {label for example in left.dataset.on("train") for label in example.labels}
    if missing := set(dataset.classes) - learned:
        raise TrainingError(
            f"class {min(missing)!r} has no readable image to learn from: label more of it"
        )
    if not left.dataset.on("holdout"):
        raise TrainingError(
            "no held-out image is left to judge by (labels retracted, files gone, or all images of"
            " each class look alike): label images that differ, or put the files back"
        )
    return left


def _unusable(image: LabelledImage, found: "Mapping[str, Path]") -> Skipped | None:
    if image.sha256 not in found:
        where = image.paths[0] if image.paths else _nowhere(image)
        return Skipped(where, "its file is gone", image.label)
    if image.side == "none":
        reason = "looks like images on both sides of the split, so it is used on neither"
        return Skipped(found[image.sha256], reason, image.label)
    return None


def _nowhere(image: LabelledImage) -> "Path":
    from pathlib import Path

    return Path(image.folder, f"image {image.sha256[:12]}")


def _example(image: LabelledImage, path: "Path", classes: Sequence[str]) -> Example | None:
    labels = tuple(label for label in image.labels if label in classes)
    if not labels:
        return None
    return Example(
        sha256=image.sha256,
        path=path,
        label=labels[0],
        side=str(image.side),
        phash=image.phash,
        taken_at=image.taken_at,
        folder=image.folder,
        also=labels[1:],
    )


def _too_few(counts: Mapping[str, int], left_out: Sequence[Skipped], least: int) -> str:
    there = ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "none"
    lost = f"; {len(left_out)} labelled images cannot be used" if left_out else ""
    return (
        f"training needs two classes of at least {least} images; there are: {there}{lost}. Label"
        " more images, or lower retrain.min_per_class"
    )
