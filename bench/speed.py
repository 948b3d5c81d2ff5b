"""Images a second from the inbox to the committed row, beside a plain loop over the same files."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.models import Model, make_model
from bench.pictures import Pictures, photographs
from bench.plan import ROOT, Plan, Say, scratch
from bench.processes import children, cpu_seconds
from bench.report import Cell, Section, Table
from bench.served import Daemon


@dataclass(frozen=True)
class Pair:
    """Images a second of one run each, and processor seconds for 1,000 images."""

    daemon: float
    plain: float
    main_cpu: float
    worker_cpu: float
    plain_cpu: float

    @property
    def ratio(self) -> float:
        """How many times as fast the daemon is."""
        return self.daemon / self.plain


def measure(plan: Plan, say: Say) -> Section:
    """Run daemon and plain loop in turns for each model."""
    with scratch() as folder:
        pictures = photographs(folder / "pictures", plan.images)
        tables = [_model(plan, folder, name, pictures, say) for name in plan.models]
    notes = (
        f"{pictures.what}, from the first move into the inbox to the last committed row of"
        " `latest_prediction`; a warm daemon with the default settings, an empty database.",
        "The plain loop calls `keras.utils.load_img` and `model.predict` for each image, with the"
        " same model in a process of its own, once it is warm; it records nothing.",
        "Both run in turns; the last line has the medians, of the ratios too.",
    )
    return Section("speed", "Speed", tables, notes)


def _model(plan: Plan, folder: Path, name: str, pictures: Pictures, say: Say) -> Table:
    model = make_model(name, folder / "bundles")
    pairs = []
    for number in range(1, plan.pairs + 1):
        pairs.append(_pair(folder / f"{name}-{number}", model, pictures.files))
        say(
            f"{name}, pair {number} of {plan.pairs}: {pairs[-1].daemon:.1f} images/s,"
            f" plain loop {pairs[-1].plain:.1f}"
        )
    return _table(model.what, pairs)


def _pair(folder: Path, model: Model, files: Sequence[Path]) -> Pair:
    seconds, main, workers = _daemon_run(folder, model.bundle, files)
    plain = _plain_run(model.bundle, files[0].parent)
    count, thousand = len(files), 1000 / len(files)
    return Pair(
        count / seconds,
        count / plain["seconds"],
        main * thousand,
        workers * thousand,
        plain["cpu"] * thousand,
    )


def _daemon_run(folder: Path, bundle: Path, files: Iterable[Path]) -> tuple[float, float, float]:
    """Return seconds, and processor seconds of the main process and of the workers."""
    outbox = folder / "outbox"
    outbox.mkdir(parents=True)
    copies = [Path(shutil.copy(path, outbox / path.name)) for path in files]
    os.sync()  # what was written so far is not to be waited for by the daemon's commits
    with Daemon(folder, bundle) as daemon:
        workers = children(daemon.pid)
        before = cpu_seconds([daemon.pid]), cpu_seconds(workers)
        began = time.perf_counter()
        daemon.take(copies)
        daemon.await_rows(len(copies))
        seconds = time.perf_counter() - began
        after = cpu_seconds([daemon.pid]), cpu_seconds(workers)
    return seconds, after[0] - before[0], after[1] - before[1]


def _plain_run(bundle: Path, pictures: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.plain", str(bundle), str(pictures)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    times: dict[str, float] = json.loads(ran.stdout)
    return times


def _table(what: str, pairs: Sequence[Pair]) -> Table:
    columns = (
        "pair",
        "daemon, images/s",
        "plain loop, images/s",
        "ratio",
        "CPU s for 1,000 images: main",
        "workers",
        "plain loop",
    )
    rows: list[Sequence[Cell]] = [(str(n), *_cells(pair)) for n, pair in enumerate(pairs, 1)]
    middle = [median(column) for column in zip(*map(_cells, pairs), strict=True)]
    return Table(f"Model: {what}", columns, [*rows, ("median", *middle)])


def _cells(pair: Pair) -> tuple[float, ...]:
    return (
        pair.daemon,
        pair.plain,
        pair.ratio,
        pair.main_cpu,
        pair.worker_cpu,
        pair.plain_cpu,
    )
