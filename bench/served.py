"""A real `classifyd run` in a folder of its own, watched through its database from outside."""

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plan import ROOT
from bench.processes import children, cpu_seconds
from daemon.app import Wiring, upgraded_engine
from daemon.compiling import Row
from daemon.config import load
from daemon.contracts import WorkerSetup
from daemon.serving import serving_setup, ways
from daemon.store.models import Models, Version
from daemon.testing.process import DaemonProcess, until

_SILENCE_S = 300.0
_START_S = 300.0


@dataclass(frozen=True)
class Run:
    """How one load of files went.

    `speed` is images a second from the first commit to the last, `whole` from the first move
    into the inbox to the last commit; processor seconds are for all files.
    """

    images: int
    speed: float
    whole: float
    main_cpu: float
    worker_cpu: float

    @property
    def main_ms(self) -> float:
        """Milliseconds of processor time that the main process took for an image."""
        return 1000 * self.main_cpu / self.images

    @property
    def worker_ms(self) -> float:
        """The same of all workers."""
        return 1000 * self.worker_cpu / self.images


class Daemon:
    """Runs while in context, warm and watching its inbox; serves a bundle with the defaults."""

    def __init__(
        self, folder: Path, bundle: Path, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        defaults: dict[str, Any] = {"runtime": "auto", "plugins": []}
        self._daemon = DaemonProcess(folder, {**defaults, **(settings or {})})
        self._daemon.deploy(bundle)
        self.first_ready_s = 0.0

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._daemon.process is not None
        return self._daemon.process.pid

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self._daemon.inbox

    @property
    def database(self) -> Path:
        """The database."""
        return self._daemon.database

    def __enter__(self) -> "Daemon":
        watching = "SELECT title FROM source_state WHERE watching IS NOT NULL"
        try:
            self.first_ready_s = self.start()
            until(lambda: self._daemon.query(watching), what="the inbox is watched")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> float:
        """Start it; returns the seconds until it was ready."""
        began = time.perf_counter()
        self._daemon.launch()
        until(self._is_ready, _START_S, f"the daemon is ready; see {self._daemon.log}")
        return time.perf_counter() - began

    def _is_ready(self) -> bool:
        self._check(time.monotonic(), "starting")
        return bool(
            self._daemon.query(
                "SELECT 1 FROM heartbeat WHERE pid = ? AND phase = 'running'", self.pid
            )
        )

    def stop(self) -> None:
        """End it."""
        if self._daemon.process is not None and self._daemon.process.poll() is None:
            self._daemon.stop()

    def compare_again(self) -> None:
        """Compile and compare with Keras on the photographs that there are now."""
        self.command("models", "compile", "--anew")

    def command(self, *arguments: str) -> None:
        """Run another command on the same configuration."""
        command = [sys.executable, "-m", "daemon", *arguments]
        command += ["--config", str(self._daemon.config)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    def deploy(self, bundle: Path) -> None:
        """Make a bundle the active model version; the daemon takes it at its next look."""
        self._daemon.deploy(bundle)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return self._daemon.query(statement, *values)

    def setup(self) -> WorkerSetup:
        """Return what its workers serve with; it must have been ready before."""
        return serving_setup(*self._served())

    def row(self) -> Row | None:
        """Return how the runtime that it is configured for did beside Keras."""
        found = ways(*self._served())
        return found[0].row() if found else None

    def _served(self) -> tuple[Wiring, Version]:
        loaded = load(self._daemon.config, {})
        engine = upgraded_engine(loaded)
        active = Models(engine).active()
        engine.dispose()
        assert active is not None
        return Wiring(loaded), active

    def run(self, files: Sequence[Path]) -> Run:
        """Move files into the inbox, as a program does that has written them elsewhere, and wait
        until all are committed."""
        workers = children(self.pid)
        cpu = cpu_seconds([self.pid]), cpu_seconds(workers)
        with closing(self.connect()) as connection:
            first = _rows(connection)
            began = time.perf_counter()
            for path in files:
                path.rename(self.inbox / path.name)
            seen = self._follow(connection, first, len(files))
        main, work = cpu_seconds([self.pid]) - cpu[0], cpu_seconds(workers) - cpu[1]
        (early, some), (end, all_) = seen[0], seen[-1]
        is_long = some <= all_ / 4  # few commits tell nothing between the first and the last
        speed = (all_ - some) / (end - early) if is_long else len(files) / (end - began)
        return Run(len(files), speed, len(files) / (end - began), main, work)

    def _follow(
        self, connection: sqlite3.Connection, first: int, count: int
    ) -> list[tuple[float, int]]:
        """Return when how many rows were there; a look costs next to nothing until somebody has
        committed. Raises `RuntimeError` if it stalls."""
        seen: list[tuple[float, int]] = []
        version, news = -1, time.monotonic()
        while not seen or seen[-1][1] < count:
            before, version = version, _value(connection, "PRAGMA data_version")
            rows = _rows(connection) - first if version != before else 0
            if rows > (seen[-1][1] if seen else 0):
                seen.append((time.perf_counter(), rows))
                news = time.monotonic()
            else:
                self._check(news, f"{seen[-1][1] if seen else 0} of {count} rows")
                time.sleep(0.005)
        return seen

    def database_bytes(self) -> int:
        """Return how large the database is, without its write-ahead log."""
        with closing(self.connect()) as connection:
            pages = _value(connection, "PRAGMA page_count")
            return pages * _value(connection, "PRAGMA page_size")

    def _check(self, news: float, where: str) -> None:
        assert self._daemon.process is not None
        if time.monotonic() - news > _SILENCE_S or self._daemon.process.poll() is not None:
            tail = self._daemon.log.read_text("utf-8", "replace").splitlines()[-20:]
            said = "\n".join(tail)
            raise RuntimeError(f"the daemon does not go on ({where}); it said last:\n{said}")

    def connect(self) -> sqlite3.Connection:
        """Open the database for reading."""
        name = f"file:{self.database}?mode=ro"
        return sqlite3.connect(name, uri=True, isolation_level=None)

    def remove(self) -> None:
        """End it and remove what it made, which may be gigabytes."""
        self.stop()
        shutil.rmtree(self.folder)


def _rows(connection: sqlite3.Connection) -> int:
    return _value(connection, "SELECT coalesce(max(id), 0) FROM prediction")


def _value(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
