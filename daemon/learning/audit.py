"""What is wrong with the labelled images, before anything is learned from them.

Nothing here changes data or stops a run: each finding is a line for a person to look at.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daemon.contracts import DecodeLimits
from daemon.domain import ImageFacts
from daemon.errors import ImageError
from daemon.learning.dataset import Example
from daemon.learning.groups import DEFAULT, Likeness, near_duplicates

TINY_SIDE = 48
"""Pixels; what an image shows when its shorter side has fewer is mostly guessed."""
IMBALANCE = 10
"""The largest class may have so many times the images of another."""
_SHOWN = 3


class FindingKind(StrEnum):
    """What may be wrong."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near-duplicate"
    CONTRADICTION = "contradiction"  # images that look alike under different labels
    TINY = "tiny"
    IMBALANCE = "imbalance"
    NOT_HELD_OUT = "not held out"  # a class that nothing is judged by
    WRONG_LABEL = "wrong label"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark: the image (SHA-256) and its path, None where a whole class is meant."""

    kind: FindingKind
    reason: str
    image: str | None = None
    path: Path | None = None


def audit(
    examples: Sequence[Example],
    facts_of: Callable[[Example], ImageFacts],
    likeness: Likeness = DEFAULT,
) -> list[Finding]:
    """Return all findings but wrong labels, which need a model (`daemon.learning.mislabelled`).

    `facts_of` gives what is known of an image and raises what it likes where that is nothing:
    the image is reported as unreadable, and the audit goes on without it.
    """
    findings, readable, facts = [], [], {}
    for example in examples:
        try:
            facts[example.sha256] = facts_of(example)
            readable.append(example)
        except Exception as error:  # whatever one file does, the others are looked at
            findings.append(_of(example, FindingKind.UNREADABLE, _reason(error)))
    findings += _duplicates(readable)
    findings += _alike(_each_content_once(readable), likeness)
    findings += _tiny(readable, facts)
    findings += _classes(readable)
    return findings


def read_facts(example: Example, limits: DecodeLimits) -> ImageFacts:
    """Decode an image for what it tells of itself.

    Raises `ImageError` or `OSError` where the file is unreadable or no longer what was labelled.
    """
    import hashlib

    import numpy as np

    from daemon.images.decode import decode
    from daemon.preprocessing import Geometry

    if example.path.stat().st_size > limits.max_bytes:
        raise ImageError(f"larger than decode.max_bytes ({limits.max_bytes} bytes)")
    data = example.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != example.sha256:
        raise ImageError("changed since it was labelled")
    thumbnail = Geometry(32, 32)
    return decode(data, example.sha256, thumbnail, limits, np.empty((32, 32, 3), np.uint8))


def _of(example: Example, kind: FindingKind, reason: str) -> Finding:
    return Finding(kind, reason, example.sha256, example.path)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"


def _duplicates(examples: Iterable[Example]) -> Iterator[Finding]:
    first: dict[str, Example] = {}
    for example in examples:
        original = first.setdefault(example.sha256, example)
        if original.label != example.label:
            reason = f"the same image as {original.path}, which is labelled {original.label!r}"
            reason += f", not {example.label!r}"
            yield _of(example, FindingKind.CONTRADICTION, reason)
        elif original is not example:
            yield _of(example, FindingKind.DUPLICATE, f"the same image as {original.path}")


def _each_content_once(examples: Iterable[Example]) -> list[Example]:
    return list({example.sha256: example for example in examples}.values())


def _alike(examples: Sequence[Example], likeness: Likeness) -> Iterator[Finding]:
    known = {example.sha256: example for example in examples}
    for group in near_duplicates(examples, likeness):
        members = [known[sha256] for sha256 in group]
        labels = sorted({member.label for member in members})
        use = _use({member.side for member in members})
        for member in members:
            others = [other for other in members if other is not member]
            if len(labels) > 1:
                kind, aside = FindingKind.CONTRADICTION, f"; labels: {', '.join(labels)}"
            else:
                kind, aside = FindingKind.NEAR_DUPLICATE, ""
            yield _of(member, kind, f"looks like {_names(others)}{aside}; {use}")


def _names(others: Sequence[Example]) -> str:
    shown = ", ".join(str(other.path) for other in others[:_SHOWN])
    more = len(others) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _use(sides: set[str]) -> str:
    if sides == {"train"}:
        return "all are learned from"
    if sides == {"holdout"}:
        return "all are held out"
    if {"train", "holdout"} <= sides:
        return "they are on both sides of the split, which flatters the holdout"
    return "what is like images on both sides is used on neither"


def _tiny(examples: Iterable[Example], facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    for example in examples:
        width, height = facts[example.sha256].width, facts[example.sha256].height
        if min(width, height) < TINY_SIDE:
            reason = f"only {width} x {height} pixels; a larger version would teach more"
            yield _of(example, FindingKind.TINY, reason)


def _classes(examples: Sequence[Example]) -> Iterator[Finding]:
    counts = Counter(example.label for example in examples)
    held_out = Counter(example.label for example in examples if example.side == "holdout")
    largest = max(counts, key=lambda label: (counts[label], label), default="")
    for label in sorted(counts):
        if counts[label] * IMBALANCE <= counts[largest]:
            yield Finding(
                FindingKind.IMBALANCE,
                f"class {label!r} has {counts[label]} images, {largest!r} has {counts[largest]}:"
                f" label more of {label!r}",
            )
        if not held_out[label]:
            yield Finding(
                FindingKind.NOT_HELD_OUT,
                f"class {label!r} has no held-out image ({counts[label]} in all), so nobody can"
                " judge how well it is recognised: label images that differ from these",
            )
