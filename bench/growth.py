"""What it costs as the work grows: predictions in the database, files in a folder, classes."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

from bench.filling import fill, known_files
from bench.models import BUNDLED, make_model
from bench.pictures import Pictures, photographs, varied
from bench.plan import Plan, Say, scratch
from bench.processes import children, cpu_seconds, usage
from bench.report import Cell, Plot, Section, Table
from bench.served import Daemon
from daemon.testing.process import until

_BYTES_A_ROW = 1500  # with indexes, and room to sort them
_IN_A_FOLDER = 1000
_IDLE_S = 5.0
_LISTED_S = 600.0


def measure(plan: Plan, say: Say) -> Section:
    """Measure the three, each from little to much."""
    with scratch() as folder:
        pictures = photographs(folder / "pictures", plan.images)
        rows = _rows(plan, folder / "rows", pictures, say)
        classes = _classes(plan, folder / "classes", pictures, say)
        files = [_files(folder / f"files-{count}", count, say) for count in plan.files]
    notes = (
        f"Predictions and classes: {pictures.what} a turn through `compact`, images a second from"
        f" the first commit to the last; {plan.repeats} turns of all daemons one after the other,"
        " medians, and the share of the first one's speed as the median of each turn's.",
        "Files: a daemon is started on a folder whose files it knows already. `listed` is from its"
        " start to the end of the first walk (the start alone is in the first line), `idle` the"
        f" share of one processor that all its processes take over {_IDLE_S:g} s after that.",
    )
    tables = [
        Table("Predictions in the database", ("predictions", *_SPEEDS), rows),
        Table("Classes of the model", ("classes", *_SPEEDS), classes),
        Table("Known files in the folder", _FILES, files),
    ]
    plots = [
        _share("growth-predictions", "predictions in the database", plan.rows, rows),
        _share("growth-classes", "classes", plan.classes, classes),
    ]
    return Section("growth", "Growth", tables, notes, plots)


_SPEEDS = ("images/s", "share of the first", "main process, ms an image", "all processes, MB")
_FILES = ("files", "listed, s", "main process, MB", "idle, %")


def _share(name: str, what: str, labels: Sequence[int], rows: Sequence[Sequence[Cell]]) -> Plot:
    shares = [float(row[2]) for row in rows]
    return Plot(name, f"Speed as {what} grow", "share", labels, {"images a second": shares})


def _rows(plan: Plan, folder: Path, pictures: Pictures, say: Say) -> list[Sequence[Cell]]:
    folder.mkdir()
    _check_room(folder, sum(plan.rows))
    model = make_model(BUNDLED, folder)
    with ExitStack() as stack:
        daemons = []
        for count in plan.rows:
            place = folder / str(count)
            place.mkdir()
            fill(place / "classifyd.db", count, time.time())
            say(f"growth: {count:,} predictions are made")
            daemons.append(stack.enter_context(Daemon(place, model.bundle)))
        return _turns(plan, folder, plan.rows, daemons, pictures, say)


def _check_room(folder: Path, rows: int) -> None:
    free, needed = shutil.disk_usage(folder).free, rows * _BYTES_A_ROW
    if free < needed:
        raise SystemExit(
            f"growth: {rows:,} rows need {needed / 1e9:.0f} GB in {folder}, there are"
            f" {free / 1e9:.0f}; ask for fewer with --rows"
        )


def _classes(plan: Plan, folder: Path, pictures: Pictures, say: Say) -> list[Sequence[Cell]]:
    folder.mkdir()
    with ExitStack() as stack:
        daemons = []
        for count in plan.classes:
            model = make_model(BUNDLED, folder / "bundles", count)
            say(f"growth: a model of {count:,} classes is made")
            daemons.append(stack.enter_context(Daemon(folder / str(count), model.bundle)))
        return _turns(plan, folder, plan.classes, daemons, pictures, say)


def _turns(
    plan: Plan,
    folder: Path,
    counts: Sequence[int],
    daemons: Sequence[Daemon],
    pictures: Pictures,
    say: Say,
) -> list[Sequence[Cell]]:
    """Run all daemons in turns; returns a row for each."""
    turns = []
    for turn in range(plan.repeats + 1):
        files = [
            varied(pictures, folder / f"{turn}-{n}", plan.images, f"{turn}")
            for n in range(len(daemons))
        ]
        os.sync()  # what was written so far is not to be waited for by the daemons' commits
        turns.append([daemon.run(each) for daemon, each in zip(daemons, files, strict=True)])
        say(f"growth: {', '.join(f'{run.speed:.0f}' for run in turns[-1])} images/s")
    table: list[Sequence[Cell]] = []
    for count, daemon, runs in zip(counts, daemons, zip(*turns[1:], strict=True), strict=True):
        shares = [run.speed / turn[0].speed for run, turn in zip(runs, turns[1:], strict=True)]
        memory = usage([daemon.pid, *children(daemon.pid)]).memory_mb
        speed, main = median(run.speed for run in runs), median(run.main_ms for run in runs)
        table.append((count, speed, median(shares), main, memory))
    return table


def _files(folder: Path, count: int, say: Say) -> Sequence[Cell]:
    """Start a daemon on so many files that it knows."""
    model = make_model(BUNDLED, folder)
    daemon = Daemon(folder / "daemon", model.bundle)
    with daemon:  # it makes the database, and the compiled form
        pass
    known_files(daemon.database, daemon.inbox.name, list(_made(daemon.inbox, count)))
    say(f"growth: {count:,} files are made")
    with closing(sqlite3.connect(daemon.database, isolation_level=None)) as connection:
        connection.execute("UPDATE source_state SET listed_at = NULL")
    began = time.perf_counter()
    with daemon:
        listed = "SELECT 1 FROM source_state WHERE listed_at IS NOT NULL AND title = ?"
        until(lambda: daemon.query(listed, daemon.inbox.name), _LISTED_S, "the folder is listed")
        seconds = time.perf_counter() - began
        processes = [daemon.pid, *children(daemon.pid)]
        before = cpu_seconds(processes)
        time.sleep(_IDLE_S)
        idle = (cpu_seconds(processes) - before) / _IDLE_S
        (left,) = daemon.query("SELECT count(*) FROM file WHERE state != 'done'")[0]
        if left:
            raise RuntimeError(f"{left} of {count} files were not known")
        row = (count, seconds, usage([daemon.pid]).memory_mb, 100 * idle)
    say(f"growth: {count:,} files listed in {seconds:.1f} s")
    daemon.remove()
    return row


def _made(inbox: Path, count: int) -> Iterator[Path]:
    """Make files of one byte, a thousand in a folder."""
    for number in range(count):
        path = inbox / f"{number // _IN_A_FOLDER:05d}" / f"{number:08d}.jpg"
        if number % _IN_A_FOLDER == 0:
            path.parent.mkdir()
        path.write_bytes(b"x")
        yield path
