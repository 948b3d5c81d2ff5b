"""Retraining with nobody watching, told by a real daemon: `python -m bench.flowers.story`.

200 flowers are labelled by folder while other photographs keep coming; a run starts by itself and
its challenger goes live. Then 200 photographs come with wrong labels, which the gate must refuse;
then somebody rolls back. In the end every file and every prediction is accounted for. With
`--kills N` the training process of the first part is killed so often, at random moments.
"""

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.flowers.data import DATA
from daemon.testing import DaemonProcess, daemon_process, until

_PATIENCE_S = 3600.0
_EACH = 40


def main() -> None:
    """Play the story and print what was seen."""
    given = _parser().parse_args()
    os.environ.setdefault("KERAS_HOME", str(DATA / "keras"))
    with tempfile.TemporaryDirectory() as folder, _daemon(Path(folder), given) as daemon:
        if given.kills:
            _kills(daemon, given.kills, random.Random(given.seed))
        with _photographs_coming(daemon):
            before = len(daemon.query("SELECT id FROM training_run WHERE verdict IS NOT NULL"))
            if given.kills:
                _start_training(daemon)
            _better(daemon, before + 1)
            if not given.kills:
                _wrong(daemon)
                _rollback(daemon)
        _account(daemon)
        print(daemon.run("runs").stdout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.flowers.story", description=__doc__)
    parser.add_argument("--strategy", default="auto", help="how challengers are trained")
    parser.add_argument("--budget", type=float, default=10.0, help="minutes of a training run")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="kill training N times")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser


@contextmanager
def _daemon(folder: Path, given: argparse.Namespace) -> Iterator[DaemonProcess]:
    settings: dict[str, Any] = {
        "runtime": "auto",
        "model": {"backbone": {"name": "mobilenet_v2", "alpha": 0.35}, "weights": "imagenet"},
        "retrain": {"strategy": given.strategy, "budget": given.budget, "min_new_labels": 100},
    }
    if given.kills:  # who kills a run starts it
        settings["retrain"] |= {"min_new_labels": 1_000_000, "every": None}
    with daemon_process(folder, settings) as daemon:
        daemon.start()
        yield daemon
        assert daemon.stop() == 0


@contextmanager
def _photographs_coming(daemon: DaemonProcess) -> Iterator[None]:
    """Drop a photograph every few seconds, whatever else happens."""
    over = threading.Event()

    def drop() -> None:
        for number, path in enumerate(sorted((DATA / "photos").glob("*.JPEG"))):
            shutil.copyfile(path, daemon.inbox / f"{number:04}.jpg")
            if over.wait(5.0):
                return

    thread = threading.Thread(target=drop)
    thread.start()
    yield
    over.set()
    thread.join()


def _flowers(first: int) -> Iterator[tuple[str, Path]]:
    for folder in sorted((DATA / "flowers").iterdir()):
        for path in sorted(folder.iterdir())[first : first + _EACH]:
            yield folder.name, path


def _label(daemon: DaemonProcess, first: int, label_of: Callable[[str], str]) -> None:
    for name, path in _flowers(first):
        folder = daemon.folder / "labels" / label_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def _better(daemon: DaemonProcess, verdicts: int) -> None:
    if not daemon.query("SELECT id FROM label LIMIT 1"):
        _label(daemon, 0, lambda name: name)
    _until(daemon, "SELECT count(*) FROM training_run WHERE verdict IS NOT NULL", verdicts)
    _tell(daemon, "200 labels arrived by folder")
    assert len(daemon.query("SELECT id FROM deployment")) > 1, "no challenger went live"
    _until_active(daemon)


def _wrong(daemon: DaemonProcess) -> None:
    names = sorted({name for name, _ in _flowers(0)})
    after = dict(zip(names, names[1:] + names[:1], strict=True))
    _label(daemon, _EACH, after.__getitem__)
    _until(daemon, "SELECT count(*) FROM training_run WHERE verdict IS NOT NULL", 2)
    _tell(daemon, "200 wrong labels arrived")
    assert daemon.query("SELECT count(*) FROM deployment") == [(2,)], "wrong labels went live"


def _rollback(daemon: DaemonProcess) -> None:
    began = time.monotonic()
    assert daemon.run("models", "rollback").returncode == 0
    _until_active(daemon)
    print(f"rollback: in effect after {time.monotonic() - began:.1f} s", flush=True)


def _kills(daemon: DaemonProcess, count: int, moments: random.Random) -> None:
    """Kill training again and again; the champion must serve on, and no half bundle be seen."""
    _label(daemon, 0, lambda name: name)
    for number in range(count):
        process = _start_training(daemon)
        wait_s = moments.uniform(0.5, 10.0)
        time.sleep(wait_s)
        stage = daemon.query("SELECT progress FROM training_run ORDER BY id DESC LIMIT 1")
        os.killpg(process, signal.SIGKILL)
        draw = daemon.inbox / f"after-{number}.jpg"
        shutil.copyfile(sorted((DATA / "photos").glob("*.JPEG"))[-1 - number], draw)
        _until(daemon, f"SELECT count(*) FROM file WHERE path = '{draw}' AND state = 'done'", 1)
        seen = sorted(path.name for path in (daemon.folder / "state" / "models").iterdir())
        whole = [name for name in seen if not name.startswith(".")]
        assert len(whole) == len(daemon.query("SELECT id FROM model_version")), seen
        print(f"kill {number + 1} after {wait_s:.1f} s, at {stage}: serves on", flush=True)


def _start_training(daemon: DaemonProcess) -> int:
    command = [sys.executable, "-m", "daemon", "retrain", "--now", "--config", str(daemon.config)]
    null = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=daemon.folder, stdout=null, stderr=null, start_new_session=True
    )
    return process.pid


def _tell(daemon: DaemonProcess, what: str) -> None:
    ((strategy, state, verdict, metrics),) = daemon.query(
        "SELECT strategy, state, verdict, json_extract(metrics, '$.holdout_accuracy')"
        " FROM training_run ORDER BY id DESC LIMIT 1"
    )
    print(f"{what}; run by {strategy}: {state}, holdout accuracy {metrics}", flush=True)
    print(f"  {verdict[:400]}", flush=True)


def _account(daemon: DaemonProcess) -> None:
    """Nothing is lost, nothing doubled, and each prediction is of a version that served then."""
    for path in daemon.inbox.iterdir():
        query = f"SELECT count(*) FROM file WHERE path = '{path}' AND state = 'done'"
        _until(daemon, query, 1)
    doubled = daemon.query(
        "SELECT count(*) FROM (SELECT 1 FROM prediction GROUP BY image_id, model_version_id"
        " HAVING count(*) > 1)"
    )
    astray = daemon.query(
        "SELECT count(*) FROM prediction p WHERE NOT EXISTS (SELECT 1 FROM deployment d"
        " WHERE d.model_version_id = p.model_version_id AND d.deployed_at <= p.predicted_at)"
    )
    versions = daemon.query(
        "SELECT model_version, count(*) FROM latest_prediction GROUP BY model_version"
    )
    with closing(sqlite3.connect(daemon.database)) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchone()
    print(f"doubled {doubled}, of versions never live {astray}, integrity {sound}, {versions}")
    assert (doubled, astray, sound) == ([(0,)], [(0,)], ("ok",))


def _until_active(daemon: DaemonProcess) -> None:
    active = "SELECT name FROM model_version v JOIN deployment d ON d.model_version_id = v.id"
    ((name,),) = daemon.query(f"{active} ORDER BY d.id DESC LIMIT 1")

    def serves() -> Any:
        beat = daemon.query("SELECT json_extract(detail, '$.model') FROM heartbeat")
        return beat == [(name,)]

    until(serves, _PATIENCE_S, f"{name} serves; see {daemon.log}")


def _until(daemon: DaemonProcess, query: str, count: int) -> None:
    until(lambda: daemon.query(query) == [(count,)], _PATIENCE_S, f"{count} from {query}")


if __name__ == "__main__":
    main()
