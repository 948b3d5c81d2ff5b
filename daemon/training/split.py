"""Step two: which images are learned from, and which are held out to judge by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.learning.groups import groups
from daemon.learning.sides import FRACTION, Side, draw
from daemon.training.features import Features, Labelled

__all__ = ["Side", "alike", "split_holdout"]


def split_holdout(
    items: Iterable[Labelled],
    seed: int,
    fraction: float = FRACTION,
    known: Mapping[str, Side] | None = None,
    together: Iterable[Sequence[str]] | None = None,
) -> dict[str, Side]:
    """Put each content (SHA-256) on a side: of every class `fraction` is held out, at least one.

    Depends on contents and seed alone, never on names or order. A content in `known` stays where
    it is; contents that are `together` share a side (see `daemon.learning.sides`).
    """
    labels = {item.sha256: item.label for item in items}
    whole = together if together is not None else [(sha256,) for sha256 in labels]
    parts = [[member for member in group if member in labels] for group in whole]
    return draw(labels, filter(None, parts), known or {}, seed, fraction)


def alike(features: Features[Any]) -> list[tuple[str, ...]]:
    """Return the groups of contents that show the same, by look or by time of capture."""
    return groups(
        [
            _Seen(facts.sha256, facts.phash, facts.taken_at, str(item.path.parent))
            for item, facts in zip(features.items, features.facts, strict=True)
        ]
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    sha256: str
    phash: str
    taken_at: str | None
    folder: str
