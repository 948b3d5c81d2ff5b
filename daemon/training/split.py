"""Step two: which images are learned from, and which are held out to judge by."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from daemon.training.features import Labelled

Side = Literal["train", "holdout"]


def split_holdout(
    items: Iterable[Labelled],
    seed: int,
    fraction: float = 0.2,
    known: Mapping[str, Side] | None = None,
) -> dict[str, Side]:
    """Put each content (SHA-256) on a side: of every class `fraction` is held out, at least one.

    Depends on contents and seed alone, never on names or order, so identical bytes are always
    on the same side. A content in `known` stays where it is: a holdout that has once been
    learned from judges nothing.
    """
    by_class: dict[str, set[str]] = defaultdict(set)
    for item in items:
        by_class[item.label].add(item.sha256)
    sides: dict[str, Side] = {}
    for contents in by_class.values():
        sides |= _split_class(contents, seed, fraction, known or {})
    return sides


def _split_class(
    contents: set[str], seed: int, fraction: float, known: Mapping[str, Side]
) -> dict[str, Side]:
    sides = {sha256: known[sha256] for sha256 in contents if sha256 in known}
    free = sorted(contents - sides.keys(), key=lambda sha256: _drawn(seed, sha256))
    held_out = sum(side == "holdout" for side in sides.values())
    missing = max(0, max(1, round(len(contents) * fraction)) - held_out)
    sides |= dict.fromkeys(free[:missing], "holdout")
    return sides | dict.fromkeys(free[missing:], "train")


def _drawn(seed: int, sha256: str) -> str:
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()
