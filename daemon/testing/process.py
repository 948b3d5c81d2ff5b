"""A real daemon as a process of its own, on a configuration in a folder of the test."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from daemon.clock import utc_text
from daemon.testing.stubs import stub_bundle

T = TypeVar("T")
DEADLINE_S = 60.0


def until(condition: Callable[[], T], deadline_s: float = DEADLINE_S, what: str = "") -> T:
    """Wait until `condition` returns something true and return that; past the deadline raise
    `TimeoutError` that names `what`."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:g} s: {what or condition}")
        time.sleep(0.02)
    return found


def _now() -> str:
    return utc_text(time.time())


def workers_of(pid: int) -> list[int]:
    """Return the process numbers of a process' living workers (Linux only)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")
            command = (folder / "cmdline").read_bytes()  # empty for the dead not yet reaped
        except OSError:
            continue
        if int(fields.split()[1]) == pid and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


class DaemonProcess:
    """A real `classifyd run` on a configuration of its own under `folder`, with `inbox/`.

    It serves what was deployed (`deploy`), else the bundled model. `settings` are keys of
    `config.yaml` in place of the defaults here: runtime `brightness`, an inotify watch of
    `inbox`, no retraining, no metrics. Standard error goes to `daemon.log`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.config = folder / "config.yaml"
        self.database = folder / "classifyd.db"
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration; a running daemon reads it at SIGHUP."""
        defaults = {
            "database": self.database.name,
            "state_dir": "state",
            "sources": [{"name": "folder", "path": "inbox"}],
            "plugins": ["daemon.testing.stubs"],
            "runtime": "brightness",
            "retrain": {"strategy": None},
            "metrics": {"port": None},
        }
        # JSON is YAML.
        self.config.write_text(json.dumps({**defaults, **settings}, indent=1) + "\n", "utf-8")

    def deploy(self, bundle: Path) -> None:
        """Register a bundle and make it the active model version."""
        from daemon.app import register_bundle, upgraded_engine
        from daemon.config import load
        from daemon.store.models import Models

        loaded = load(self.config, {})
        engine = upgraded_engine(loaded)
        version = register_bundle(Models(engine), bundle, loaded.settings, _now())
        engine.dispose()
        self.activate(version.name)

    def activate(self, name: str) -> None:
        """Make a registered model version the active one, without a look at its bundle."""
        from daemon.store.database import open_engine
        from daemon.store.models import Models

        engine = open_engine(str(self.database))
        models = Models(engine)
        models.deploy(models.find(name), "by a test", None, _now())
        engine.dispose()

    def launch(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command("run"), stderr=log, cwd=self.folder)

    def start(self) -> None:
        """Start the process and wait until it serves a model."""
        self.launch()
        until(self._serves, what=f"daemon ready; see {self.log}")

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ChildProcessError(f"the daemon has ended:\n{self.log.read_text('utf-8')}")
        rows = self.query("SELECT phase FROM heartbeat WHERE pid = ?", self.process.pid)
        return rows == [("running",)]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "daemon", *arguments, "--config", str(self.config)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the same configuration and wait for its end."""
        command = self._command(*arguments)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=self.folder
        )

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until the daemon has ended and return its exit code (negative: a signal)."""
        assert self.process is not None
        return self.process.wait(deadline_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon with a signal and return its exit code."""
        self.send(number)
        return self.wait()

    def workers(self) -> list[int]:
        """Return the process numbers of the daemon's workers."""
        assert self.process is not None
        return workers_of(self.process.pid)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database; no rows while there is none."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def states(self) -> dict[str, int]:
        """Return how many newest versions are in each state."""
        statement = "SELECT state, count(*) FROM file WHERE is_current = 1 GROUP BY state"
        return dict(self.query(statement))

    def until_done(self, count: int, deadline_s: float = DEADLINE_S) -> None:
        """Wait until so many newest versions are `done`."""
        until(
            lambda: self.states().get("done", 0) >= count,
            deadline_s,
            f"{count} files done; there are {self.states()}; see {self.log}",
        )


@contextmanager
def running_daemon(
    folder: Path, settings: Mapping[str, Any] | None = None
) -> Iterator[DaemonProcess]:
    """Run a daemon under `folder` on a bundle without a model, until the block ends."""
    with daemon_process(folder, settings) as daemon:
        daemon.deploy(stub_bundle(folder / "bundles"))
        daemon.start()
        yield daemon


@contextmanager
def daemon_process(
    folder: Path, settings: Mapping[str, Any] | None = None
) -> Iterator[DaemonProcess]:
    """Give a daemon that is not started yet; it is killed in the end, if need be."""
    daemon = DaemonProcess(folder, settings)
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
