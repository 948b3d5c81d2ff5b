"""How long a file takes from its writer's close, or its rename, to the committed row."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

from bench.models import BUNDLED, MOBILENET, make_model
from bench.pictures import Pictures, photographs
from bench.plan import Plan, Say, scratch
from bench.report import Cell, Section, Table
from bench.served import Daemon

COLUMNS = ("files", "how many", "p50, ms", "p95, ms", "p99, ms")
_RATES = (1.0, 20.0, 100.0)
_LOAD = 0.8
_LONGEST_S = 60.0
_EVERY_S = 0.001


@dataclass
class Commits:
    """Notes when the rows of awaited files are first seen committed; runs in a thread."""

    daemon: Daemon
    seen: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look at the database whenever somebody has committed."""
        version, last = -1, ""
        with closing(self.daemon.connect()) as connection:
            while not self._stop.wait(_EVERY_S):
                before, version = version, _one(connection, "PRAGMA data_version")
                if before != version:
                    last = self._note(connection, last)

    def _note(self, connection: sqlite3.Connection, since: str) -> str:
        query = "SELECT path, classified_at FROM file WHERE classified_at >= ?"
        now, last = time.perf_counter(), since
        for path, at in connection.execute(query, (since,)):
            self.seen.setdefault(path, now)
            last = max(last, at)
        return last

    def stop(self) -> None:
        """End the looking."""
        self._stop.set()

    def await_all(self, paths: Iterable[str]) -> None:
        """Wait until all these are seen; raises `TimeoutError`."""
        end = time.monotonic() + _LONGEST_S
        for path in paths:
            while path not in self.seen:
                if time.monotonic() > end:
                    raise TimeoutError(f"{path}: no row within {_LONGEST_S:g} s")
                time.sleep(_EVERY_S)


class Dropper:
    """Puts new images into the inbox, each of other bytes, and notes when."""

    def __init__(self, pictures: Pictures, daemon: Daemon, aside: Path) -> None:
        self._contents = cycle([path.read_bytes() for path in pictures.files])
        self._numbers = count()
        self._daemon = daemon
        self._aside = aside
        self.dropped: dict[str, float] = {}

    def write(self) -> str:
        """Write a file in the inbox and close it."""
        path = self._daemon.inbox / f"{next(self._numbers)}.jpg"
        path.write_bytes(self._next())
        return self._note(path)

    def rename(self) -> str:
        """Write a file elsewhere and rename it into the inbox."""
        path = self._daemon.inbox / f"{next(self._numbers)}.jpg"
        other = self._aside / path.name
        other.write_bytes(self._next())
        other.rename(path)
        return self._note(path)

    def move_folder(self) -> str:
        """Write a file in a folder elsewhere, and rename the folder into the inbox."""
        folder = self._daemon.inbox / f"{next(self._numbers)}"
        other = self._aside / folder.name
        other.mkdir()
        (other / "image.jpg").write_bytes(self._next())
        other.rename(folder)
        return self._note(folder / "image.jpg")

    def _next(self) -> bytes:
        return next(self._contents) + str(next(self._numbers)).encode()

    def _note(self, path: Path) -> str:
        self.dropped[str(path)] = time.perf_counter()
        return str(path)


def measure(plan: Plan, say: Say) -> Section:
    """Measure single files in an idle folder, then steady rates, for each model."""
    with scratch() as folder:
        pictures = photographs(folder / "pictures", 200)
        tables = [_model(plan, folder / name, name, pictures, say) for name in _models(plan)]
    notes = (
        f"{pictures.what}, each with other bytes; a warm daemon with the default settings.",
        "From the moment at which the file was closed in the inbox, or renamed into it, until its"
        f" row is seen committed by another process that looks every {_EVERY_S * 1000:g} ms.",
        f"Each rate was kept up for {plan.seconds} seconds; {_LOAD:.0%} of the load is that share"
        f" of the images a second at which {2 * plan.images} files put in at once were done.",
    )
    return Section("latency", "Latency", tables, notes)


def _models(plan: Plan) -> list[str]:
    """Return the small ones of the models asked for: with others, computing is most of it."""
    return [name for name in plan.models if name in (BUNDLED, MOBILENET)]


def _model(plan: Plan, folder: Path, name: str, pictures: Pictures, say: Say) -> Table:
    folder.mkdir()
    model = make_model(name, folder / "bundles")
    aside = folder / "aside"
    aside.mkdir()
    with Daemon(folder, model.bundle) as daemon:
        commits = Commits(daemon)
        thread = threading.Thread(target=commits.run, name="commits")
        thread.start()
        try:
            rows = list(_rows(plan, Dropper(pictures, daemon, aside), commits, say, name))
        finally:
            commits.stop()
            thread.join()
    shutil.rmtree(folder)
    return Table(f"Model: {model.what}", COLUMNS, rows)


def _rows(
    plan: Plan, dropper: Dropper, commits: Commits, say: Say, name: str
) -> Iterator[Sequence[Cell]]:
    ways: Mapping[str, Callable[[], str]] = {
        "one by one, closed in an idle folder": dropper.write,
        "one by one, renamed into it": dropper.rename,
        "one by one, renamed into it with their folder": dropper.move_folder,
    }
    _one_by_one(dropper.write, commits, 3)
    for what, drop in ways.items():
        paths = _one_by_one(drop, commits, plan.images)
        yield _row(what, paths, dropper, commits)
        say(f"{name}: {what}: p50 {_percentile(_waits(paths, dropper, commits), 0.5):.0f} ms")
    capacity = _capacity(dropper, commits, 2 * plan.images)
    rates = {f"{rate:g} a second": rate for rate in _RATES if rate <= capacity}
    rates[f"{_LOAD:.0%} of the load ({_LOAD * capacity:.0f} a second)"] = _LOAD * capacity
    for what, rate in rates.items():
        paths = _steadily(dropper, rate, plan.seconds)
        commits.await_all(paths)
        yield _row(what, paths, dropper, commits)
        say(f"{name}: {what}: p50 {_percentile(_waits(paths, dropper, commits), 0.5):.0f} ms")


def _one_by_one(drop: Callable[[], str], commits: Commits, number: int) -> list[str]:
    paths = []
    for _ in range(number):
        paths.append(drop())
        commits.await_all(paths[-1:])
        time.sleep(0.05)  # the next finds everything idle
    return paths


def _capacity(dropper: Dropper, commits: Commits, burst: int) -> float:
    """Return images a second of so many at once."""
    began = time.perf_counter()
    paths = [dropper.write() for _ in range(burst)]
    commits.await_all(paths)
    return burst / (max(commits.seen[path] for path in paths) - began)


def _steadily(dropper: Dropper, rate: float, seconds: float) -> list[str]:
    """Write files at even distances, whatever the daemon does meanwhile."""
    began, paths = time.perf_counter(), []
    for number in range(max(2, round(rate * seconds))):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        paths.append(dropper.write())
    return paths


def _row(what: str, paths: Sequence[str], dropper: Dropper, commits: Commits) -> Sequence[Cell]:
    waits = _waits(paths, dropper, commits)
    return what, len(waits), *(_percentile(waits, share) for share in (0.5, 0.95, 0.99))


def _waits(paths: Sequence[str], dropper: Dropper, commits: Commits) -> list[float]:
    """Return milliseconds, shortest first; a row may be seen before its writer goes on."""
    return sorted(max(0.0, commits.seen[p] - dropper.dropped[p]) * 1000 for p in paths)


def _percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def _one(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
