"""A real daemon as a process of its own, on a configuration in a folder of the test."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from daemon.testing.stubs import stub_bundle

if TYPE_CHECKING:
    from daemon.store.models import Version

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

    `settings` are keys of `config.yaml` in place of the defaults here: runtime `brightness`, an
    inotify watch of `inbox`. Standard error goes to `daemon.log`.
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
        }
        # JSON is YAML.
        self.config.write_text(json.dumps({**defaults, **settings}, indent=1) + "\n", "utf-8")

    def deploy(self, bundle: Path) -> "Version":
        """Register a bundle and make it the active model version."""
        from daemon.app import register_bundle, upgraded_engine
        from daemon.clock import utc_text
        from daemon.config import load
        from daemon.store.models import Models

        loaded = load(self.config, {})
        engine = upgraded_engine(loaded)
        now = utc_text(time.time())
        version = register_bundle(Models(engine), bundle, loaded.settings, now)
        Models(engine).deploy(version, "by a test", None, now)
        engine.dispose()
        return version

    def start(self) -> None:
        """Start, and wait until a model is served."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command("run"), stderr=log, cwd=self.folder)
        pid = self.process.pid
        until(lambda: self._serves(pid), what=f"daemon ready; see {self.log}")

    def _serves(self, pid: int) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise ChildProcessError(f"the daemon has ended:\n{self.log.read_text('utf-8')}")
        rows = self.query("SELECT phase FROM heartbeat WHERE pid = ?", pid)
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
    """Run a daemon under `folder` on a bundle without a model; it is killed in the end if need be.

    A bundle deployed there before goes on to serve.
    """
    daemon = DaemonProcess(folder, settings)
    if not daemon.database.exists():
        daemon.deploy(stub_bundle(folder / "bundles"))
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            os.kill(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
