"""Which images are learned from, and which are held out to judge by.

A side is given once, when an image is first labelled, and never changes: a holdout that has once
been learned from judges nothing. Images that show the same (see `daemon.learning.groups`) share
a side. `none` is stored too: such an image is like images on both sides, so it is used on
neither, now and later.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from daemon.learning.groups import DEFAULT, Comparable, Likeness, groups

Side = Literal["train", "holdout", "none"]

FRACTION = 0.2
"""Share of each class that is held out."""


class Labelled(Comparable, Protocol):
    """What assigning needs to know of an image."""

    @property
    def label(self) -> str:
        """Its class."""


def assign(
    images: Sequence[Labelled],
    known: Mapping[str, Side],
    seed: int = 0,
    fraction: float = FRACTION,
    likeness: Likeness = DEFAULT,
) -> dict[str, Side]:
    """Return the sides (by SHA-256) of the images that are not in `known`.

    `images` are all that ever had a label, so that a new one finds whom it resembles. The
    result depends on contents, labels and seed alone, never on names or order.
    """
    labels = {image.sha256: image.label for image in images}
    new = labels.keys() - known.keys()
    sides = draw(labels, groups(images, new, likeness), known, seed, fraction)
    return {sha256: sides[sha256] for sha256 in sorted(new)}


def draw(
    labels: Mapping[str, str],
    together: Iterable[Sequence[str]],
    known: Mapping[str, Side],
    seed: int,
    fraction: float = FRACTION,
) -> dict[str, Side]:
    """Put every content of `labels` (SHA-256 to class) on a side, each group on one.

    Of every class `fraction` is held out, at least one image where it has two groups. A content
    in `known` stays where it is and takes its group along; a group that `known` has on both
    sides gets none.
    """
    sides: dict[str, Side] = {sha256: known[sha256] for sha256 in labels if sha256 in known}
    free: dict[str, list[Sequence[str]]] = defaultdict(list)
    for group in together:
        side = _inherited([known[member] for member in group if member in known])
        if side is None:
            free[_label_of(group, labels)].append(group)
        else:
            sides |= {member: side for member in group if member not in known}
    for label in sorted(free):
        contents = [sha256 for sha256, name in labels.items() if name == label]
        held_out = sum(sides.get(sha256) == "holdout" for sha256 in contents)
        others = any(sides.get(sha256) == "train" for sha256 in contents)
        wanted = max(1, round(len(contents) * fraction)) - held_out
        sides |= _split(free[label], wanted, seed, is_empty=not held_out, has_others=others)
    return sides


def _inherited(sides: Iterable[Side]) -> Side | None:
    found = set(sides)
    if not found:
        return None
    clear = found - {"none"}
    return clear.pop() if len(clear) == 1 else "none"


def _label_of(group: Sequence[str], labels: Mapping[str, str]) -> str:
    counts = Counter(labels[member] for member in group)
    return min(counts, key=lambda label: (-counts[label], label))


def _split(
    together: Sequence[Sequence[str]], wanted: int, seed: int, is_empty: bool, has_others: bool
) -> dict[str, Side]:
    """Hold groups out until `wanted` images are; larger ones are passed over."""
    order = sorted(together, key=lambda group: _drawn(seed, min(group)))
    chosen: list[Sequence[str]] = []
    for group in order:
        if len(group) <= wanted:
            chosen.append(group)
            wanted -= len(group)
    if not chosen and is_empty:
        chosen = [min(order, key=len)]
    if len(chosen) == len(order) and not has_others:
        chosen = chosen[1:]  # something must be left to learn from
    sides: dict[str, Side] = {member: "train" for group in order for member in group}
    return sides | {member: "holdout" for group in chosen for member in group}


def _drawn(seed: int, sha256: str) -> str:
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()
