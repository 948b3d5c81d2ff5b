"""Labels out: rows for a labels file, or a folder of class folders."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from daemon.domain import FileStat
from daemon.errors import UsageError

_LABELLED = """
    SELECT label.label, label.labelled_at AS "when", label.who, label.source, image.sha256,
           file.path_bytes, file.size, file.mtime_ns, file.inode
    FROM label
    JOIN image ON image.id = label.image_id
    LEFT JOIN file ON file.id = (
        SELECT max(newest.id) FROM file AS newest
        WHERE newest.image_id = label.image_id AND newest.is_current = 1
          AND newest.removed_at IS NULL AND newest.state <> 'gone')
    WHERE label.retracted_at IS NULL
    ORDER BY label.label, file.path, label.id
"""

Row = dict[str, Any]


def labelled(connection: Connection) -> Iterator[Row]:
    """Yield every label there is now, with the newest file that has the image; `path` is None
    where no file has it any more."""
    for row in connection.exec_driver_sql(_LABELLED).mappings():
        path = None if row["path_bytes"] is None else os.fsdecode(row["path_bytes"])
        yield {**row, "path": path}


def writable(rows: Iterable[Row]) -> Iterator[Row]:
    """Leave out the labels that no labels file can name: without file, or of no UTF-8 name."""
    for row in rows:
        if row["path"] is not None and _is_text(row["path"]):
            yield row


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.isprintable()


def write_folders(rows: Iterable[Row], out: Path, copy: bool) -> int:
    """Write `OUT/<class>/<name>` for each label whose file is as it was; returns how many.

    Files are hard links, and copies where that is not possible or `copy` says so. Raises
    `UsageError` where `out` has something in it already, or cannot be written.
    """
    try:
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out}: is not empty; name a new folder")
        out.mkdir(parents=True, exist_ok=True)
        return sum(_write(row, out, copy) for row in rows)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror})") from error


def _write(row: Row, out: Path, copy: bool) -> bool:
    path = row["path"]
    if path is None or not _is_same(Path(path), FileStat(*(row[n] for n in _STAT))):
        return False
    folder = out / row["label"]
    folder.mkdir(exist_ok=True)
    target = folder / Path(path).name
    if target.exists():
        target = folder / f"{target.stem}-{row['sha256'][:12]}{target.suffix}"
    if copy or not _link(path, target):
        shutil.copy2(path, target)
    return True


_STAT = ("size", "mtime_ns", "inode")


def _is_same(path: Path, stat: FileStat) -> bool:
    try:
        return FileStat.of(path.lstat()) == stat
    except OSError:
        return False


def _link(path: str, target: Path) -> bool:
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        return False
    return True
