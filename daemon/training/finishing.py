"""The last step of every strategy: calibration, the limits of `unknown`, and the record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from daemon.classifier import with_novelty
from daemon.learning.calibration import is_right
from daemon.learning.dataset import Example
from daemon.learning.schedule import Plan
from daemon.learning.unknown import choose_references, confidence_threshold, novelty_limit
from daemon.manifest import Unknown
from daemon.scores import read_scores
from daemon.training.bench import Bench
from daemon.training.challenger import Challenger, OutOfFold
from daemon.training.validation import Answers, class_numbers, judge

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Fit:
    """A classifier fitted on all of `examples`; `answer` is the one that its learner returned."""

    model: "keras.Model"
    classes: tuple[str, ...]
    examples: Sequence[Example]
    answer: Callable[[Sequence[Example]], Answers]


def finish(
    bench: Bench, plan: Plan, fit: Fit, found: OutOfFold | None, settled: dict[str, Any]
) -> Challenger:
    """Make a challenger of a fitted classifier and its out-of-fold answers.

    `settled` are the options that were left open and are now decided; with them the plan repeats
    this very run. Without out-of-fold answers confidence stays as it is, and nothing is unknown.
    """
    chosen = choose_references(class_numbers(fit.examples, fit.classes), plan.seed)
    references = fit.answer([fit.examples[row] for row in chosen]).pooled
    challenger = Challenger(
        recipe=bench.recipe,
        classes=fit.classes,
        model=with_novelty(fit.model, references),
        plan=replace(plan, options={**plan.options, **settled}),
        has_novelty=True,
    )
    if found is None:
        reason = "no class has two images: nothing could be measured, confidence is as it came"
        return replace(challenger, reasons=(reason,))
    return _calibrated(bench, challenger, found, len(fit.examples))


def _calibrated(bench: Bench, challenger: Challenger, found: OutOfFold, images: int) -> Challenger:
    reading = bench.recipe.head.reading
    measured = judge(reading, found)
    sure = read_scores(reading, found.scores, measured.temperature)
    right = is_right(sure, found.truth)
    unknown = Unknown(
        target_error=bench.target_error,
        false_alarms=bench.false_alarms,
        threshold=confidence_threshold(sure.max(axis=1), right, bench.target_error),
        novelty=novelty_limit(found.novelty, bench.false_alarms),
    )
    metrics: dict[str, JsonValue] = {
        "out_of_fold_images": len(found.truth),
        "out_of_fold_accuracy": round(measured.accuracy, 4),
        "out_of_fold_log_loss": round(measured.loss, 4),
        "calibration_error_before": round(measured.error_before, 4),
        "calibration_error_after": round(measured.error_after, 4),
        "accepted_share": round(float(np.mean(sure.max(axis=1) >= (unknown.threshold or 0))), 4),
    }
    share = f"{len(found.truth)} of {images} training images held out in turn"
    reason = f"{measured.accuracy:.1%} right on {share}, log loss {measured.loss:.3f}"
    return replace(
        challenger,
        temperature=measured.temperature,
        unknown=unknown,
        out_of_fold=found,
        metrics=metrics,
        reasons=(reason,),
    )
