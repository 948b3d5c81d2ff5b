"""What training measured, as a person reads it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = {
    "holdout_accuracy",
    "holdout_images",
    "holdout_accuracy_by_class",
    "holdout_mistakes",
    "training_accuracy",
    "training_images",
    "holdout_accuracy_by_folder",
    "calibration_error",
    "gap",
    "robustness",
    "learning_curve",
    "test_top1",
    "test_images",
}


def scorecard_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on accuracy, class by class; figures of other kinds as they stand."""
    for side, title in (("holdout", "held out"), ("training", "learned from")):
        if f"{side}_accuracy" in metrics:
            count = metrics.get(f"{side}_images", "?")
            yield f"{title:<12} {_share(metrics[f'{side}_accuracy'])} right of {count} images"
    if "test_top1" in metrics:
        count = metrics.get("test_images", "?")
        yield f"{'test set':<12} {_share(metrics['test_top1'])} right of {count} images"
    mistakes = metrics.get("holdout_mistakes", {})
    for name, share in metrics.get("holdout_accuracy_by_class", {}).items():
        taken = ", ".join(f"{other} ({n})" for other, n in mistakes.get(name, {}).items())
        yield f"  {name:<16} {_share(share)}" + (f"  taken for {taken}" if taken else "")
    yield from _sureness(metrics)
    yield from _enough(metrics.get("learning_curve") or ())
    for key, value in metrics.items():
        if key not in _SHOWN:
            yield f"{key:<12} {value}"


def _sureness(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on how far the figures above can be trusted elsewhere."""
    folders = metrics.get("holdout_accuracy_by_folder", {})
    if len(folders) > 1:
        yield from (f"  in {name:<13} {_share(share)}" for name, share in folders.items())
    if "gap" in metrics:
        yield f"{'overfitting':<12} {_share(metrics['gap'])} more right of what it learned from"
    if "calibration_error" in metrics:
        yield f"{'calibration':<12} {_share(metrics['calibration_error'])} between sure and right"
    for name, share in metrics.get("robustness", {}).items():
        yield f"  under {name:<10} {_share(share)}"


def _enough(curves: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield lines that answer "have I labelled enough?", for all classes and for each.

    A bar for each model of the learning curve, from the one that learned from fewest labels: the
    lowest bar is the least accuracy of all curves, the highest 100 %.
    """
    if not curves:
        return
    yield "enough labels?"
    least = min((share for curve in curves for share in _accuracies(curve)), default=0.0)
    for curve in curves:
        name = "all (each)" if curve["label"] is None else curve["label"]
        bars = "".join(_bar(share, least) for share in _accuracies(curve))
        yield f"  {name:<16} {bars:<5}  {curve['why']}"


def _accuracies(curve: Mapping[str, Any]) -> list[float]:
    return [point["right"] / point["images"] for point in curve["points"] if point["images"]]


def _bar(share: float, least: float) -> str:
    height = (share - least) / (1 - least) if least < 1 else 1.0
    return _BARS[round(height * (len(_BARS) - 1))]


def _share(value: float) -> str:
    return f"{value:6.1%}"
