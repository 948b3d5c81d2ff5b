"""The audit of one training run: what its images and a model that cannot know them tell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon.domain import ImageFacts
from daemon.errors import ImageError
from daemon.learning.audit import Finding, FindingKind, audit
from daemon.learning.dataset import Dataset, Example
from daemon.learning.mislabelled import wrong_labels
from daemon.scores import read_scores
from daemon.training.challenger import OutOfFold
from daemon.training.collect import Skipped
from daemon.training.features import Features


def audit_images(
    examples: Sequence[Example], features: Features[Example], left_out: Sequence[Skipped] = ()
) -> list[Finding]:
    """Return what is wrong with these images, and with those that cannot be used at all."""
    facts = {item.sha256: f for item, f in zip(features.items, features.facts, strict=True)}
    reasons = {skipped.path: skipped.reason for skipped in features.skipped}

    def facts_of(example: Example) -> ImageFacts:
        if example.sha256 not in facts:
            raise ImageError(reasons.get(example.path, "cannot be read"))
        return facts[example.sha256]

    lost = [Finding(FindingKind.UNREADABLE, one.reason, None, one.path) for one in left_out]
    return [*lost, *audit(examples, facts_of)]


def suspicious_labels(
    dataset: Dataset, found: OutOfFold | None, reading: str, temperature: float = 1.0
) -> list[Finding]:
    """Return labels that are probably wrong, by answers of models that had not seen them.

    Empty where images have several classes, of which none need be the surest.
    """
    has_several = any(example.also for example in dataset.examples)
    if found is None or has_several or len(dataset.classes) < 2:
        return []
    known = {example.sha256: example for example in dataset.examples}
    examples = [known[sha256] for sha256 in found.sha256s]
    return wrong_labels(examples, dataset.classes, read_scores(reading, found.scores, temperature))


def as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as `training_run.data` keeps it."""
    path: Path | None = finding.path
    return {
        "kind": str(finding.kind),
        "reason": finding.reason,
        "image": finding.image,
        "path": None if path is None else str(path),
    }
