"""A database as years of classifying would leave it, made by SQL alone.

One photograph every three seconds up to now, in a folder a day; ten classes of unlike
frequency, even confidences, one in two hundred unknown, capture times spread over ten years.
The numbers are multiples of odd constants modulo 2**32: spread evenly, the same in each run.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from daemon.store.migrate import upgrade

CLASSES = ("cat", "dog", "bird", "frog", "deer", "horse", "ship", "truck", "plane", "car")
MODEL = "filled"
SOURCE = "inbox"

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)"
_SEEN = "(:now - 3 * (:rows - i))"
_TIME = f"strftime('%Y-%m-%dT%H:%M:%fZ', {_SEEN}, 'unixepoch')"
_CHOICE, _SURE, _WHEN = (
    f"(i * {factor} % 4294967296 / 4294967296.0)" for factor in (2654435761, 2246822519, 3266489917)
)
_LABEL = f"json_extract(:classes, '$[' || CAST(10 * {_CHOICE} * {_CHOICE} AS INTEGER) || ']')"
_CONFIDENCE = f"round({_SURE}, 6)"
_PATH = f"('/srv/photos/' || strftime('%Y/%m/%d', {_SEEN}, 'unixepoch') || printf('/%08d.jpg', i))"
_TAKEN = (
    f"CASE WHEN {_WHEN} > 0.2 THEN strftime('%Y-%m-%dT%H:%M:%S',"
    f" :now - CAST({_WHEN} * 315360000 AS INTEGER), 'unixepoch') END"
)

_MODEL_VERSION = (
    "INSERT INTO model_version (id, name, digest, bundle, backbone, head, classes, metrics,"
    " created_at) VALUES (1, :model, 'none', 'none', 'compact', 'softmax', :classes, '{}',"
    " '2025-01-01T00:00:00.000Z')"
)
_DEPLOYMENT = (
    "INSERT INTO deployment (model_version_id, deployed_at, reason)"
    " VALUES (1, '2025-01-01T00:00:00.000Z', 'benchmark')"
)
_IMAGES = (
    "INSERT INTO image (id, sha256, size, format, width, height, taken_at, phash, first_seen_at)"
    f" {_NUMBERS} SELECT i, printf('%064x', i), 100000 + i % 90000, 'jpeg', 500, 375, {_TAKEN},"
    f" printf('%016x', i * 2654435761), {_TIME} FROM n"
)
_PREDICTIONS = (
    "INSERT INTO prediction (id, image_id, model_version_id, label, confidence, top_k,"
    f" is_unknown, predicted_at) {_NUMBERS} SELECT i, i, 1, {_LABEL}, {_CONFIDENCE},"
    f" json_array(json_array({_LABEL}, {_CONFIDENCE}), json_array('cat', 0.01)),"
    f" i % 200 = 0, {_TIME} FROM n"
)
_FILES = (
    "INSERT INTO file (id, source, path, path_bytes, is_current, size, mtime_ns, inode, state,"
    " found_at, state_at, image_id, prediction_id, label, classified_at)"
    f" {_NUMBERS} SELECT i, :source, {_PATH}, CAST({_PATH} AS BLOB), 1, 100000 + i % 90000,"
    f" 1000000000 * {_SEEN}, i, 'done', {_TIME}, {_TIME}, i, i, {_LABEL}, {_TIME} FROM n"
)


def fill(database: Path, rows: int, now: float) -> None:
    """Make a database of so many predictions; `now` is when the last was made, in seconds."""
    upgrade(str(database), database.parent / "backups")
    values = {"rows": rows, "now": int(now), "classes": json.dumps(CLASSES)}
    values |= {"model": MODEL, "source": SOURCE}
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = _indexes(connection)
        for name in indexes:
            connection.execute(f"DROP INDEX {name}")
        for statement in (_MODEL_VERSION, _DEPLOYMENT, _IMAGES, _PREDICTIONS, _FILES):
            connection.execute(statement, values)
        for statement in indexes.values():  # sorting once is far quicker than row by row
            connection.execute(statement)


def known_files(database: Path, source: str, files: Iterable[Path]) -> None:
    """Add files to a database as if it had classified them: as one image, which is enough."""
    image = (
        "INSERT OR IGNORE INTO image (id, sha256, size, format, width, height, phash,"
        " first_seen_at) VALUES (1, printf('%064x', 1), 1, 'jpeg', 8, 8, printf('%016x', 1), :now)"
    )
    row = (
        "INSERT INTO file (source, path, path_bytes, is_current, size, mtime_ns, inode, state,"
        " found_at, state_at, image_id, classified_at)"
        " VALUES (:source, :path, :bytes, 1, :size, :mtime, :inode, 'done', :now, :now, 1, :now)"
    )
    now = "2025-01-01T00:00:00.000Z"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(image, {"now": now})
        connection.executemany(row, (_known(path, source, now) for path in files))


def _known(path: Path, source: str, now: str) -> Mapping[str, object]:
    stat = path.stat()
    found = {"size": stat.st_size, "mtime": stat.st_mtime_ns, "inode": stat.st_ino}
    where = {"source": source, "path": str(path), "bytes": os.fsencode(path)}
    return {**found, **where, "now": now}


def _indexes(connection: sqlite3.Connection) -> dict[str, str]:
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        " AND tbl_name IN ('image', 'prediction', 'file')"
    )
    return dict(connection.execute(query).fetchall())
