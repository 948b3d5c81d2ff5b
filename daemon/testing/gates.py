"""What every gate must keep to, in the box or outside."""

import json
from collections.abc import Sequence

from daemon.contracts import Gate
from daemon.learning.evidence import Evidence, GateVerdict

CLASSES = ("cat", "dog", "emu")


def make_evidence(
    right: Sequence[bool],
    labels: Sequence[str] = (),
    settled: int | None = None,
    classes: tuple[str, ...] = CLASSES,
) -> Evidence:
    """Return a model's answers on a holdout: one image for each of `right`.

    `labels` go round `classes` where none are given; the first `settled` images (all by
    default) were members at the last deployment that the gate allowed.
    """
    import numpy as np

    from daemon.learning.scorecard import Card

    count = len(right)
    names = tuple(f"{number:064x}" for number in range(count))
    truth = tuple(labels) or tuple(CLASSES[number % len(CLASSES)] for number in range(count))
    confidences = np.full((count, len(classes)), 0.1, np.float32)
    for row, is_right in enumerate(right):
        told = [name for name in classes if (name == truth[row]) == is_right]
        confidences[row, classes.index(told[0])] = 0.8
    return Evidence(Card(classes, names, truth, confidences), frozenset(names[:settled]))


def check_gate(gate: Gate) -> None:
    """Assert what every gate must keep to, whatever it goes by.

    It judges the same twice, with a champion and without one, gives reasons in words, and
    figures that can be stored as JSON.
    """
    good, bad = make_evidence([True] * 60), make_evidence([False] * 60)
    for challenger, champion in ((good, bad), (bad, good), (good, None)):
        verdict = gate.judge(challenger, champion)
        assert isinstance(verdict, GateVerdict), verdict
        assert verdict.reasons, "a verdict without a reason helps nobody"
        assert all(reason.strip() for reason in verdict.reasons), verdict.reasons
        assert json.loads(json.dumps(verdict.as_json())) == verdict.as_json()
        assert gate.judge(challenger, champion) == verdict
