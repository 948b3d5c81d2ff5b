"""The short life of a daemon, in which every kind of durable action happens at least once."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from daemon.testing import DaemonProcess, stub_bundle, until

from .audit import Scene, audit
from .gate import Action, Gate, kill
from .pictures import draw
from .powercut import Disk

SETTINGS = {
    "sinks": [{"name": "jsonl", "path": "events.jsonl"}],
    "batch": {"max_size": 4},
    "executor": {"name": "local", "workers": 1},
}
_REST_S = 90.0
_KEPT = {
    "file": "SELECT id FROM file WHERE state = 'done'",
    "prediction": "SELECT id FROM prediction",
    "deployment": "SELECT id FROM deployment",
    "label": "SELECT id FROM label",
    "delivery": "SELECT event_id FROM delivery WHERE delivered_at IS NOT NULL",
}


class Killed(Exception):  # noqa: N818
    """The life has ended before its time, as planned."""


def committed(database: Path) -> frozenset[tuple[str, int]]:
    """Return what anybody could read in the database now, so that it must never be lost."""
    found = set()
    # None where it has no tables yet, or is being made.
    with suppress(sqlite3.OperationalError), closing(_open(database)) as connection:
        for table, statement in _KEPT.items():
            found |= {(table, number) for (number,) in connection.execute(statement)}
    return frozenset(found)


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=0.2)


class Behind(DaemonProcess):
    """A daemon behind a gate until it is killed there, and an ordinary one after that."""

    gate: Gate | None = None

    def launch(self) -> None:
        """Start the process."""
        if self.gate is None:
            super().launch()
        else:
            self.process = self.gate.run(self._command("run"), self.log)

    def call(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start another command behind the gate."""
        assert self.gate is not None
        return self.gate.run([sys.executable, *arguments], self.log)


class Life:
    """One life in a folder of its own, which ends before the point `kill_at`, if it is given.

    `cuts`: the power goes at that moment, else one process is killed. `points` counts what was
    met, `met` keeps it.
    """

    def __init__(
        self,
        folder: Path,
        kill_at: int | None = None,
        cuts: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.daemon = Behind(folder, {**SETTINGS, **(settings or {})})
        self.labels = folder / "labels"
        self.met: list[Action] = []
        self.killed = False
        self._kill_at = kill_at
        self._cuts = cuts
        self._promised: frozenset[tuple[str, int]] = frozenset()
        self._disk = Disk(folder, self._is_not_ours) if cuts else None
        self.daemon.gate = self._gate = Gate(folder, self._look, self._is_not_ours)
        self._commands: list[subprocess.Popen[bytes]] = []

    @property
    def scene(self) -> Scene:
        """Return where its things lie."""
        folder, state = self.folder, self.folder / "state"
        roots = [self.daemon.inbox, self.labels]
        return Scene(self.daemon.database, state, roots, folder / "events.jsonl")

    def _is_not_ours(self, path: Path) -> bool:
        top = path.relative_to(self.folder).parts[:1]
        others = {("inbox",), ("labels",), ("bundles",), ("daemon.log",), ("config.yaml",)}
        return top[:1] in others or path.name.endswith("-shm")

    def _look(self, action: Action) -> None:
        if self.killed:
            return
        if action.is_point and len(self.met) == self._kill_at:
            self._promised = committed(self.daemon.database)
            self.killed = True
            kill(action.process)
        elif self._disk is not None:
            self._disk.before(action)
        if action.is_point:
            self.met.append(action)

    def live(self, life: Callable[["Life"], None]) -> None:
        """Live until the end, or the kill; what is left behind is dead then."""
        with suppress(Killed):
            life(self)
        if self.killed:
            self._bury()

    def _bury(self) -> None:
        """Let all end that lost its daemon, and with a power cut everything at once."""
        running = [self.daemon.process, *self._commands]
        for process in running:
            if process is not None and (self._cuts or process is not self.daemon.process):
                process.kill()
        if self.daemon.process is not None:
            # A command was killed: the daemon lives on, and is ended in order.
            if self.daemon.process.poll() is None and not self._cuts:
                self.daemon.process.send_signal(signal.SIGTERM)
            self.daemon.process.wait(60)
        self._gate.join()
        if self._disk is not None:
            self._disk.cut()

    def aftermath(self) -> list[str]:
        """Start the daemon again, wait until it rests, stop it; return what the audit finds."""
        wrong = [f"lost: {lost}" for lost in self._promised - committed(self.daemon.database)]
        self.daemon.gate = None
        self.daemon.start()
        with suppress(TimeoutError):  # then the audit below tells what is the matter
            until(lambda: not audit(self.scene), _REST_S)
        if (code := self.daemon.stop()) != 0:
            wrong.append(f"the daemon ended with code {code}")
        return wrong + audit(self.scene)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something in the life; raises `Killed` once it was."""
        until(lambda: self.killed or condition(), 90.0, f"{what}; see {self.daemon.log}")
        if self.killed:
            raise Killed

    def start(self) -> None:
        """Start the daemon behind the gate."""
        self.daemon.launch()
        self.until(self.daemon._serves, "the daemon serves")

    def command(self, *arguments: str) -> None:
        """Run a command behind the gate to its end."""
        process = self.daemon.call(*arguments)
        self._commands.append(process)
        self.until(lambda: process.poll() is not None, str(arguments))
        assert process.returncode == 0, self.daemon.log.read_text()

    def classifyd(self, *arguments: str) -> None:
        """Run one of the program's own commands."""
        self.command("-m", "daemon", *arguments, "--config", str(self.daemon.config))

    def rests(self) -> None:
        """Wait until all is as it should be."""
        self.until(lambda: not audit(self.scene), "rest")


def serving(life: Life) -> None:
    """First start, intake, predictions, labels, another model and back, and an orderly end."""
    daemon, inbox = life.daemon, life.daemon.inbox
    for number in range(3):
        draw(inbox / f"early-{number}.png", number, number)
    (inbox / "damaged.png").write_bytes((inbox / "early-0.png").read_bytes()[:60])
    (inbox / "text.jpg").write_text("no image")
    life.start()
    for number in range(5):
        draw(inbox / f"late-{number}.png", number, 10 + number)
    draw(inbox / "twin.png", 0, 10)
    life.rests()
    bundle = stub_bundle(life.folder / "bundles", "second", [f"other-{n}" for n in range(10)])
    life.command(str(Path(__file__).with_name("deploying.py")), str(daemon.config), str(bundle))
    life.until(lambda: "model second is active" in daemon.log.read_text(), "the second model")
    draw(inbox / "early-1.png", 7, 100)
    (inbox / "late-1.png").unlink()
    draw(life.labels / "seven" / "labelled.png", 7, 101)
    life.until(lambda: daemon.query("SELECT 1 FROM label"), "a label")
    life.classifyd("models", "rollback")
    life.until(lambda: daemon.log.read_text().count(" is active") == 3, "the first model again")
    draw(inbox / "last.png", 3, 102)
    life.rests()
    daemon.send(signal.SIGTERM)
    life.until(lambda: daemon.process is None or daemon.process.poll() is not None, "the end")
