"""The process that trains beside the daemon: started, followed, ended; it costs one run at most."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from daemon.run_record import Interrupted

_MOST_LOGGED = 20_000
_LOOK_S = 1.0


class TrainingProcess:
    """A `classifyd retrain` of its own; what it prints goes to `log`."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log
        command = [sys.executable, "-m", "daemon", "retrain", "--config", str(config)]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the daemon, which ends it in order
            )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return its exit code (negative: a signal), None while it runs."""
        return self._process.poll()

    def stop(self, deadline_s: float) -> None:
        """Ask it to end, and kill it past the deadline."""
        self._process.terminate()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """Return the end of what it printed."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _MOST_LOGGED))
            return file.read().decode("utf-8", "replace").strip()


def end_on_request(parent: int | None) -> None:
    """Let SIGTERM raise `Interrupted`, and end at once when the parent process has.

    Main thread only.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    signal.signal(signal.SIGTERM, interrupt)
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
