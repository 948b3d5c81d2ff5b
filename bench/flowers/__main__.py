"""Measure how well strategies learn the flowers: `python -m bench.flowers [--budget MINUTES]`.

Appends to `answers.csv` (one line an image) and `runs.csv` (one line a run) in
`bench/out/flowers`, writes `report.md` after each task, and goes on where it was stopped.
"""

import argparse
import csv
import resource
from collections.abc import Iterable
from pathlib import Path

from bench.flowers.data import FOLDS, ROOT, SIZES, Flowers, Task, strangers
from bench.flowers.methods import Result, make_wiring, run_task
from bench.flowers.report import write_report
from daemon.learning.dataset import Dataset
from daemon.quiet import hush_pillow, import_keras

OUT = ROOT / "bench" / "out" / "flowers"
_RUN = ("size", "fold", "method", "accuracy", "seconds", "peak_mb", "photos", "cifar10", "chosen")
_ANSWER = ("size", "fold", "method", "image", "truth", "taken", "sure", "raw", "unknown")


def main() -> None:
    """Do the tasks that are not done yet: all sizes on a fold, then the next fold."""
    given = _parser().parse_args()
    hush_pillow()
    import_keras()
    wiring, flowers = make_wiring(given.out), Flowers()
    others = strangers(given.out / "strangers")
    for task in (Task(size, fold) for fold in given.folds for size in given.sizes):
        if _is_done(given.out, task):
            continue
        results = list(run_task(wiring, flowers, task, others, given.budget * 60))
        _append(given.out / "answers.csv", _ANSWER, _answers(task, flowers.dataset(task), results))
        _append(given.out / "runs.csv", _RUN, _runs(task, flowers.dataset(task), results))
        write_report(given.out)
        print(task, *(f"{row[2]} {row[3]}" for row in _runs(task, flowers.dataset(task), results)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.flowers", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="labels a class")
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS), help="0 to 4")
    parser.add_argument("--budget", type=float, default=30.0, help="minutes that auto may take")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    return parser


def _is_done(out: Path, task: Task) -> bool:
    """A task's runs are written last, so with them all of it is there."""
    path = out / "runs.csv"
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return any((row["size"], row["fold"]) == (str(task.size), str(task.fold)) for row in rows)


def _append(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(header)
        writer.writerows(rows)


def _runs(task: Task, dataset: Dataset, results: Iterable[Result]) -> Iterable[tuple[object, ...]]:
    truth = [dataset.classes.index(example.label) for example in dataset.on("holdout")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for each in results:
        accuracy = round(float((each.taken == truth).mean()), 4)
        strange = [round(each.strange[name], 4) if each.strange else "" for name in _RUN[6:8]]
        yield (
            task.size, task.fold, each.method, accuracy, round(each.seconds, 1), peak, *strange,
            each.chosen,
        )  # fmt: skip


def _answers(
    task: Task, dataset: Dataset, results: Iterable[Result]
) -> Iterable[tuple[object, ...]]:
    for each in results:
        for row, example in enumerate(dataset.on("holdout")):
            yield (
                task.size, task.fold, each.method, example.path.name, example.label,
                dataset.classes[each.taken[row]], round(float(each.sure[row]), 5),
                round(float(each.raw[row]), 5), int(each.unknown[row]),
            )  # fmt: skip


if __name__ == "__main__":
    main()
