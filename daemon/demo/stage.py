"""A folder with a daemon of its own, both of which go when the demonstration ends."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from daemon.clock import Clock, SystemClock
from daemon.errors import ClassifydError

CONFIG = """\
# What is not here has its default; `classifyd config show` lists all.
sources: [{name: folder, path: inbox}]
labels: {folder: labels}
model: {name: creatures}
# Learn the quick way and when asked; by default labels start it by themselves.
retrain: {strategy: probe, every: null, min_new_labels: 1000}
# Another daemon on this machine may listen where this one would.
metrics: {port: null}
"""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S, _DEADLINE_S, _STOP_S = 0.1, 180.0, 20.0
_OURS = "CLASSIFYD_"
T = TypeVar("T")


class Stage:
    """Runs `classifyd` in a folder as a user would, and waits for what the daemon does."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self._clock = clock
        self._log = folder / "daemon.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")

    def start(self) -> None:
        """Start the daemon."""
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                _command("run"),
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end it in order
            )

    def stop(self) -> None:
        """End the daemon, if it runs."""
        if self._daemon is None or self._daemon.poll() is not None:
            return
        self._daemon.terminate()
        try:
            self._daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._daemon.kill()  # its workers end with it
            self._daemon.wait()

    def run(self, *arguments: str) -> None:
        """Run a command whose output goes to the terminal; raises `ClassifydError`."""
        done = subprocess.run(_command(*arguments), cwd=self.folder, env=_environment())
        self._require(done.returncode, arguments, "its message is above")

    def ask(self, *arguments: str) -> Any:
        """Run a command and return the JSON that it prints; raises `ClassifydError`."""
        done = subprocess.run(
            _command(*arguments, "--format", "json"),
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
        )
        self._require(done.returncode, arguments, done.stderr.strip())
        return json.loads(done.stdout)

    def select(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database in SQL; no rows while it is not made."""
        path = self.folder / "state" / "classifyd.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            try:
                return connection.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until a condition holds and return it; raises `ClassifydError` when that takes
        minutes, or the daemon ends meanwhile."""
        end = self._clock.elapsed() + _DEADLINE_S
        while not (found := condition()):
            if self._daemon is not None and self._daemon.poll() is not None:
                raise ClassifydError(f"the daemon of the demonstration ended:\n{self._said()}")
            if self._clock.elapsed() > end:
                raise ClassifydError(f"{what}: not within {_DEADLINE_S:g} s\n{self._said()}")
            time.sleep(_POLL_S)
        return found

    def serves(self) -> str | None:
        """Return the name of the model version that the daemon has loaded."""
        statement = "SELECT json_extract(detail, '$.model') FROM heartbeat WHERE phase = 'running'"
        return next((name for (name,) in self.select(statement)), None)

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace").strip()[-2_000:]

    def _require(self, code: int, arguments: tuple[str, ...], told: str) -> None:
        if code:
            raise ClassifydError(f"`classifyd {' '.join(arguments)}` ended with {code}: {told}")


@contextmanager
def temporary_stage(keep: bool) -> Iterator[Stage]:
    """Give a stage; however the block ends, no process stays, and no folder but with `keep`."""
    with _interrupted_by_signals():
        folder = _new_folder()
        try:
            stage = Stage(folder, SystemClock())
            try:
                yield stage
            finally:
                _undisturbed()
                stage.stop()
        finally:
            _undisturbed()
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


def _new_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="classifyd-demo-")).resolve()
    except OSError as error:
        raise ClassifydError(
            f"no temporary folder can be made ({error.strerror}); make room in the one there is, or"
            " name another with the variable TMPDIR"
        ) from error


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let what ends a process raise `KeyboardInterrupt`, so that it is cleaned up after."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _undisturbed() -> None:
    """Let a second Ctrl-C not cut the cleaning short."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "daemon", *arguments]


def _environment() -> Mapping[str, str]:
    """Leave out the user's own overrides, which would make it another demonstration."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
