"""What the answers come to: accuracy with paired intervals, calibration, and the unknown."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

METHODS = ("regression", "recipe", "probe", "finetune", "auto")
_BINS, _RESAMPLES = 10, 10_000
Answers = dict[tuple[int, str], list[dict[str, str]]]


def write_report(out: Path) -> None:
    """Write `report.md` from `answers.csv` and `runs.csv` in the folder."""
    answers, runs = _grouped(out / "answers.csv"), _grouped(out / "runs.csv")
    parts = [*_accuracy(answers), "", *_trust(answers, runs), "", *_choices(runs)]
    (out / "report.md").write_text("\n".join(parts) + "\n", "utf-8")


def paired_interval(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return the mean difference in accuracy and its 95 % interval, by paired bootstrap."""
    gains = ours.astype(float) - theirs
    random = np.random.default_rng(0)
    means = np.array([random.choice(gains, len(gains)).mean() for _ in range(_RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(gains.mean()), float(low), float(high)


def _grouped(path: Path) -> Answers:
    found: Answers = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[int(row["size"]), row["method"]].append(row)
    return found


def _right(rows: list[dict[str, str]]) -> NDArray[np.bool_]:
    ordered = sorted(rows, key=lambda row: (row["fold"], row["truth"], row["image"]))
    return np.array([row["truth"] == row["taken"] for row in ordered])


def _sizes(answers: Answers) -> list[int]:
    return sorted({size for size, _ in answers})


def _accuracy(answers: Answers) -> Iterator[str]:
    yield "| labels a class | images | " + " | ".join(METHODS) + " | auto less best other |"
    yield "| --- " * (len(METHODS) + 3) + "|"
    for size in _sizes(answers):
        right = {m: _right(answers[size, m]) for m in METHODS if answers.get((size, m))}
        cells = [f"{right[m].mean():.3f}" if m in right else "" for m in METHODS]
        others = [method for method in right if method != "auto"]
        best = max(others, key=lambda method: right[method].mean())
        gain, low, high = paired_interval(right["auto"], right[best])
        told = f"{gain:+.3f} [{low:+.3f}, {high:+.3f}] ({best})"
        yield f"| {size} | {len(right['auto'])} | {' | '.join(cells)} | {told} |"
        gain, low, high = paired_interval(right["auto"], right["regression"])
        yield f"| | | auto less regression: {gain:+.3f} [{low:+.3f}, {high:+.3f}] | | | | | |"


def _trust(answers: Answers, runs: Answers) -> Iterator[str]:
    yield "| labels a class | ECE before | ECE after | accepted | wrong among accepted | photos unknown | CIFAR-10 unknown |"  # noqa: E501
    yield "| --- " * 7 + "|"
    for size in _sizes(answers):
        rows = answers[size, "auto"]
        right = np.array([row["truth"] == row["taken"] for row in rows])
        accepted = np.array([row["unknown"] == "0" for row in rows])
        wrong = 1 - right[accepted].mean() if accepted.any() else float("nan")
        before, after = (_ece(_numbers(rows, name), right) for name in ("raw", "sure"))
        photos, cifar = (_numbers(runs[size, "auto"], n).mean() for n in ("photos", "cifar10"))
        yield (
            f"| {size} | {before:.3f} | {after:.3f} | {accepted.mean():.3f} | {wrong:.3f}"
            f" | {photos:.3f} | {cifar:.3f} |"
        )


def _choices(runs: Answers) -> Iterator[str]:
    for size in _sizes(runs):
        for row in runs[size, "auto"]:
            yield f"- {size} labels, fold {row['fold']}, {row['seconds']} s: {row['chosen']}"


def _numbers(rows: list[dict[str, str]], name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows])


def _ece(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    parts = np.array_split(np.argsort(sure, kind="stable"), _BINS)
    gaps = [len(part) * abs(sure[part].mean() - right[part].mean()) for part in parts]
    return float(sum(gaps) / len(sure))
