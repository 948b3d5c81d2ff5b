"""Step one: which images there are, under which class, each content once."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import TrainingError

MINIMUM_IMAGES = 5
"""Fewest usable images of a class: one to hold out, the others to learn from."""

_MOST_TOLD = 10

Progress = Callable[[str, int, int], None]
"""Told of each step: stage (`read`, `features`, `fit`, `score`), how many done, of how many."""


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled content: where it lies, its class, SHA-256 (hex) of its bytes."""

    path: Path
    label: str
    sha256: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Its class alone: a file lies in one class folder."""
        return (self.label,)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that training leaves out, its class, and why in words."""

    path: Path
    reason: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """Classes in the order of the model's scores, their images, and what was left out."""

    classes: tuple[str, ...]
    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()


def collect(folder: Path, progress: Progress) -> Collection:
    """Read class folders: each sub-folder's name is a class, all files below it are its images.

    Hidden files and folders are passed over. The same bytes twice in a class count once; the
    same bytes in two classes count in neither. Raises `TrainingError` when the folder is not
    there, or has fewer than two classes or too few images of one.
    """
    classes = _classes(folder)
    found = [(path, name) for name in classes for path in _files(folder / name)]
    items, skipped = [], []
    for done, (path, name) in enumerate(found, 1):
        try:
            items.append(Item(path, name, _hash(path)))
        except OSError as error:
            skipped.append(Skipped(path, f"cannot be read: {error.strerror}", name))
        progress("read", done, len(found))
    usable, doubled = _each_content_once(items)
    left_out = (*skipped, *doubled)
    check_enough(classes, usable, left_out)
    return Collection(classes, tuple(usable), left_out)


def check_enough(
    classes: Sequence[str], items: Iterable[Item], left_out: Sequence[Skipped] = ()
) -> None:
    """Raise `TrainingError` for a class of fewer than `MINIMUM_IMAGES` usable images; those left
    out are told with it."""
    counts = Counter(item.label for item in items)
    for name in classes:
        if counts[name] < MINIMUM_IMAGES:
            raise TrainingError(
                f"class {name!r} has {counts[name]} usable images, training needs at least"
                f" {MINIMUM_IMAGES}: add images to its folder, or remove the folder"
                f"{_told([one for one in left_out if one.label == name])}"
            )


def _told(left_out: Sequence[Skipped]) -> str:
    lines = [f"\n  {one.path}: {one.reason}" for one in left_out[:_MOST_TOLD]]
    if len(left_out) > _MOST_TOLD:
        lines.append(f"\n  and {len(left_out) - _MOST_TOLD} more")
    return f"; {len(left_out)} were left out:{''.join(lines)}" if left_out else ""


def _classes(folder: Path) -> tuple[str, ...]:
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise TrainingError(
            f"training folder {folder}: {error.strerror}; name a folder with one sub-folder"
            " of images for each class"
        ) from error
    if len(names) < 2:
        raise TrainingError(
            f"training folder {folder} has {len(names)} class folders"
            f" ({', '.join(names) or 'none'}), training needs at least 2: make one sub-folder"
            " of images for each class"
        )
    for name in names:
        _check_name(name, folder)
    return tuple(names)


def _check_name(name: str, folder: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise TrainingError(
            f"class folder {os.fsencode(name)!r} in {folder}: its name is no UTF-8 text; rename it"
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(at, name) for name in sorted(names) if not name.startswith("."))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _each_content_once(items: Iterable[Item]) -> tuple[list[Item], list[Skipped]]:
    same: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        same[item.sha256].append(item)
    usable, skipped = [], []
    for group in same.values():
        names = sorted({item.label for item in group})
        if len(names) > 1:
            reason = f"the same image is under {' and '.join(names)}: nobody knows which is right"
            skipped += [Skipped(item.path, reason, item.label) for item in group]
            continue
        usable.append(group[0])
        reason = f"the same image as {group[0].path}"
        skipped += [Skipped(item.path, reason, item.label) for item in group[1:]]
    return usable, skipped
