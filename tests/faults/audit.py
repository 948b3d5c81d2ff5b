"""What must be true of database and disk whenever the daemon has come to rest, whatever was done
to it before."""

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINAL = ("done", "quarantined", "ignored", "gone")
_LEFTOVERS = (".part", ".tmp", "-journal")


@dataclass(frozen=True)
class Scene:
    """Where a daemon's things lie. `events` is the file of its `jsonl` sink, if it has one;
    `swap_s` is for how long a model version may serve on after another was deployed."""

    database: Path
    state: Path
    roots: Sequence[Path]
    events: Path | None = None
    swap_s: float = 60.0


def audit(scene: Scene) -> list[str]:
    """Return everything that is wrong, in words; an empty list is a pass. Reads only."""
    with closing(sqlite3.connect(scene.database, timeout=30)) as database:
        database.row_factory = sqlite3.Row
        return [
            *_sound(database),
            *_files_have_rows(database, scene.roots),
            *_rows_are_final(database),
            *_predictions(database, scene.swap_s),
            *_events(database, scene.events),
            *_bundles(database, scene.state / "models"),
            *_leftovers(scene),
        ]


def _ask(database: sqlite3.Connection, statement: str, *values: Any) -> list[sqlite3.Row]:
    return database.execute(statement, values).fetchall()


def _sound(database: sqlite3.Connection) -> Iterator[str]:
    for (said,) in _ask(database, "PRAGMA integrity_check"):
        if said != "ok":
            yield f"integrity: {said}"
    for row in _ask(database, "PRAGMA foreign_key_check"):
        yield f"foreign key: {tuple(row)}"


def _files_have_rows(database: sqlite3.Connection, roots: Sequence[Path]) -> Iterator[str]:
    """Nothing lost: each file that is there has one current row, of its very version."""
    present = {os.fsencode(path): path for root in roots for path in _walk(root)}
    rows = _ask(
        database,
        "SELECT file.*, sha256 FROM file LEFT JOIN image ON image.id = image_id WHERE is_current",
    )
    known: dict[bytes, list[sqlite3.Row]] = {}
    for row in rows:
        known.setdefault(row["path_bytes"], []).append(row)
    for name, path in present.items():
        yield from (f"{path}: {wrong}" for wrong in _version(path, known.get(name, [])))
    for name, found in known.items():
        is_there = found[0]["removed_at"] is None and found[0]["state"] != "gone"
        if is_there and not os.path.lexists(name):
            yield f"{os.fsdecode(name)}: not there, but its row does not say so"


def _walk(root: Path) -> Iterator[Path]:
    return (Path(base, name) for base, _, names in os.walk(root) for name in names)


def _version(path: Path, rows: Sequence[sqlite3.Row]) -> Iterator[str]:
    if len(rows) != 1:
        yield f"{len(rows)} current rows"
        return
    (row,), there = rows, path.stat()
    if row["state"] == "gone" or row["removed_at"] is not None:
        yield f"is there, and its row says {row['state']}, removed at {row['removed_at']}"
    found = row["size"], row["mtime_ns"], row["inode"]
    if found != (there.st_size, there.st_mtime_ns, there.st_ino):
        yield f"its row is of another version: {found}"
    if row["sha256"] not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
        yield "its row has another content"


def _rows_are_final(database: sqlite3.Connection) -> Iterator[str]:
    """Nothing doubled, nothing stuck: one row for a version of a path, each at its end."""
    for row in _ask(database, f"SELECT path, state, reason FROM file WHERE state NOT IN {FINAL}"):
        yield f"{row['path']}: {row['state']} ({row['reason']})"
    for row in _ask(
        database,
        "SELECT path, count(*) AS n FROM file GROUP BY path_bytes, size, mtime_ns, inode"
        " HAVING n > 1",
    ):
        yield f"{row['path']}: {row['n']} rows of one version"
    for row in _ask(
        database, "SELECT path FROM file GROUP BY path_bytes HAVING sum(is_current) <> 1"
    ):
        yield f"{row['path']}: not exactly one current row"
    for row in _ask(
        database,
        "SELECT path FROM file LEFT JOIN prediction AS p ON p.id = prediction_id"
        " WHERE state = 'done' AND (p.id IS NULL OR p.image_id IS NOT file.image_id"
        " OR p.label IS NOT file.label)",
    ):
        yield f"{row['path']}: done, without a prediction of its own"
    for row in _ask(database, "SELECT id FROM training_run WHERE state = 'running'"):
        yield f"training run {row['id']}: running, though nothing trains"


def _predictions(database: sqlite3.Connection, swap_s: float) -> Iterator[str]:
    for row in _ask(
        database,
        "SELECT image_id, count(*) AS n FROM prediction GROUP BY image_id, model_version_id"
        " HAVING n > 1",
    ):
        yield f"image {row['image_id']}: {row['n']} predictions by one model version"
    # A deployment holds until the next; the old version may finish what it has in hand.
    for row in _ask(
        database,
        "SELECT id, model_version_id AS version, predicted_at FROM prediction AS p"
        " WHERE NOT EXISTS (SELECT 1 FROM deployment AS d"
        "  WHERE d.model_version_id = p.model_version_id AND d.deployed_at <= p.predicted_at"
        "  AND NOT EXISTS (SELECT 1 FROM deployment AS later WHERE later.id > d.id"
        "   AND julianday(later.deployed_at) + ? / 86400.0 < julianday(p.predicted_at)))",
        swap_s,
    ):
        yield f"prediction {row['id']}: version {row['version']} did not serve at {row[2]}"


def _events(database: sqlite3.Connection, path: Path | None) -> Iterator[str]:
    if path is None:
        return
    for row in _ask(database, "SELECT event_id, sink FROM delivery WHERE delivered_at IS NULL"):
        yield f"event {row['event_id']} has not reached {row['sink']}"
    lines = path.read_bytes().splitlines() if path.exists() else []
    told = [json.loads(line)["event_id"] for line in lines]
    known = [row["id"] for row in _ask(database, "SELECT id FROM event ORDER BY id")]
    if told != known:
        twice = [number for number, count in Counter(told).items() if count > 1]
        lost = sorted(set(known) - set(told))
        yield f"{path.name}: lost {lost}, twice {twice}, of {len(known)} events"
    for row in _ask(
        database,
        "SELECT path, count(*) AS versions, (SELECT count(*) FROM event"
        "  WHERE kind = 'classified' AND payload ->> 'path' = path) AS told"
        " FROM file WHERE state = 'done' GROUP BY path_bytes HAVING versions <> told",
    ):
        yield f"{row['path']}: {row['versions']} versions done, {row['told']} events"


def _bundles(database: sqlite3.Connection, models: Path) -> Iterator[str]:
    # Earlier ones may be pruned.
    for row in _ask(
        database,
        "SELECT name, bundle FROM deployment JOIN model_version AS v ON v.id = model_version_id"
        " ORDER BY deployment.id DESC LIMIT 1",
    ):
        if not (models / row["bundle"]).is_dir():
            yield f"active model version {row['name']}: no bundle {row['bundle']}"
    for bundle in models.glob("*/"):
        yield from (f"bundle {bundle.name}: {wrong}" for wrong in _half(bundle))


def _half(bundle: Path) -> Iterator[str]:
    try:
        manifest = json.loads((bundle / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        yield f"no manifest: {error}"
        return
    for name, stored in manifest["files"].items():
        path = bundle / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != stored["sha256"]:
            yield f"{name} is missing or altered"


def _leftovers(scene: Scene) -> Iterator[str]:
    """Temporary files, and the scratch folders of training."""
    for path in (*scene.state.rglob("*"), *scene.database.parent.glob("*")):
        if path.name.endswith(_LEFTOVERS) or path.name.startswith("training-"):
            yield f"left behind: {path}"
