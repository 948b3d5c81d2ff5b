"""A seeded storm: files come, change and go while the daemon and its workers are killed."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from daemon.testing import DaemonProcess, stub_bundle, until
from daemon.testing.process import workers_of

from .audit import Scene, audit
from .life import SETTINGS
from .pictures import draw

_REST_S = 300.0
_START_S = 300.0
_BANDS = 10


@dataclass
class Told:
    """What a storm did, and what the audit found in the end."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    files: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    versions: int = 0
    predictions: int = 0
    events: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many processes were ended."""
        return sum(self.kills.values())


class Storm:
    """Goes over a daemon in `folder` until so many kills; everything is drawn from the seed."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None] = print) -> None:
        self.daemon = DaemonProcess(
            folder,
            SETTINGS | {"runtime": {"name": "brightness", "batch_s": 0.05}},
        )
        self.told = Told(seed)
        self._random = random.Random(seed)
        self._say = say
        self._drawn = 0
        self._is_up = True
        self._bands: dict[Path, int] = {}
        state = folder / "state"
        roots = [self.daemon.inbox, folder / "labels"]
        # The storm may keep a swap waiting for as long as it blows.
        self._scene = Scene(self.daemon.database, state, roots, folder / "events.jsonl", 3600.0)
        self._versions = ["stub", "second", "third"]
        for name in self._versions:
            self.daemon.deploy(stub_bundle(folder / "bundles", name))

    def blow(self, kills: int) -> Told:
        """Blow until so many kills, let the daemon come to rest, and audit."""
        self.daemon.launch()
        self._until_up()
        while self.told.count < kills:
            for _ in range(self._random.randint(1, 6)):
                self._change()
            time.sleep(self._random.expovariate(3.0))
            self._strike()
        self._calm()
        return self.told

    def _change(self) -> None:
        kinds = ["new"] * 6 + ["twin", "overwritten", "truncated", "renamed", "deleted", "label"]
        kind = self._random.choice(kinds)
        getattr(self, f"_{kind}")()
        self.told.changes[kind] = self.told.changes.get(kind, 0) + 1

    def _new(self) -> None:
        self._draw(self.daemon.inbox / self._random.choice("abc") / f"{self._drawn}.png")

    def _draw(self, path: Path) -> None:
        self._drawn += 1
        self._bands[path] = self._random.randrange(_BANDS)
        draw(path, self._bands[path], self._drawn)

    def _any(self) -> Path | None:
        there = sorted(path for path in self._bands if self.daemon.inbox in path.parents)
        return self._random.choice(there) if there else None

    def _twin(self) -> None:
        if path := self._any():
            twin = self.daemon.inbox / f"twin-{self._drawn}.png"
            self._drawn += 1
            twin.write_bytes(path.read_bytes())
            self._bands[twin] = self._bands[path]

    def _overwritten(self) -> None:
        """The same name anew, written in place: no rename tells that it is whole."""
        if path := self._any():
            fresh = self.daemon.inbox.parent / "fresh.png"
            self._bands[path] = self._random.randrange(_BANDS)
            self._drawn += 1
            draw(fresh, self._bands[path], self._drawn)
            path.write_bytes(fresh.read_bytes())

    def _truncated(self) -> None:
        if path := self._any():
            # What only lacks its end is still the image that it was.
            os.truncate(path, self._random.randrange(path.stat().st_size))

    def _renamed(self) -> None:
        if path := self._any():
            name = path.with_name(f"moved-{self._drawn}.png")
            self._drawn += 1
            path.rename(name)
            self._bands[name] = self._bands.pop(path)

    def _deleted(self) -> None:
        if path := self._any():
            path.unlink()
            del self._bands[path]

    def _label(self) -> None:
        self._draw(self.daemon.folder / "labels" / "kind" / f"{self._drawn}.png")

    def _strike(self) -> None:
        kinds = ["kill"] * 5 + ["worker"] * 5 + ["term", "terms", "swap", "start"]
        kind = self._random.choice(kinds)
        with suppress(ProcessLookupError):
            getattr(self, f"_strike_{kind}")()

    def _count(self, kind: str) -> None:
        self.told.kills[kind] = self.told.kills.get(kind, 0) + 1
        if self.told.count % 25 == 0:
            self._say(f"{self.told.count} kills, {self._drawn} files; {self.daemon.states()}")

    def _strike_kill(self) -> None:
        self.daemon.stop(signal.SIGKILL)
        self._count("SIGKILL of the daemon")
        self._again()

    def _strike_start(self) -> None:
        """Kill a daemon that has hardly begun."""
        self.daemon.stop(signal.SIGKILL)
        self._count("SIGKILL of the daemon")
        self.daemon.launch()
        time.sleep(self._random.uniform(0.1, 1.5))
        self.daemon.stop(signal.SIGKILL)
        self._count("SIGKILL during the start")
        self._again()

    def _strike_worker(self) -> None:
        assert self.daemon.process is not None
        for pid in workers_of(self.daemon.process.pid):
            os.kill(pid, signal.SIGKILL)
            self._count("SIGKILL of a worker")

    def _strike_term(self) -> None:
        code = self.daemon.stop(signal.SIGTERM)
        # Before it can listen, the signal ends it as any program.
        if code not in ((0,) if self._is_up else (0, -signal.SIGTERM)):
            self.told.wrong.append(f"ended with {code} on SIGTERM, up before: {self._is_up}")
        self._count("SIGTERM")
        self._again()

    def _strike_terms(self) -> None:
        """Ask many times at once, and lose patience."""
        for _ in range(self._random.randint(2, 20)):
            self.daemon.send(self._random.choice([signal.SIGTERM, signal.SIGINT]))
        time.sleep(self._random.uniform(0.0, 0.5))
        self.daemon.stop(signal.SIGKILL)
        self._count("SIGTERM storm, then SIGKILL")
        self._again()

    def _strike_swap(self) -> None:
        """Another model version, and a kill while it is loaded."""
        self.daemon.activate(self._random.choice(self._versions))
        time.sleep(self._random.uniform(0.5, 2.0))
        self.daemon.stop(signal.SIGKILL)
        self._count("SIGKILL during a swap")
        self._again()

    def _again(self) -> None:
        """Start the daemon; mostly, strike again only once it works."""
        self.daemon.launch()
        self._is_up = self._random.random() < 0.5
        if self._is_up:
            self._until_up()

    def _until_up(self) -> None:
        until(self.daemon._serves, _START_S, f"the daemon serves; see {self.daemon.log}")

    def _calm(self) -> None:
        self.daemon.stop(signal.SIGKILL)
        self.daemon.launch()
        self._until_up()
        with suppress(TimeoutError):
            until(lambda: not audit(self._scene), _REST_S)
        code = self.daemon.stop()
        told, count = self.told, lambda table: self.daemon.query(f"SELECT count(*) FROM {table}")
        told.files, told.versions = self._drawn, count("file")[0][0]
        told.predictions, told.events = count("prediction")[0][0], count("event")[0][0]
        told.wrong += audit(self._scene) + [f"ended with {code}"] * (code != 0)
        told.wrong += [
            f"{path}: {label}, drawn as {self._bands[Path(path)]}"
            for path, label in self.daemon.query("SELECT path, label FROM latest_prediction")
            if Path(path).exists() and label != f"band-{self._bands[Path(path)]}"
        ]
