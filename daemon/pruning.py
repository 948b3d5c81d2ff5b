"""What goes with time: found by `retention:` in the configuration, removed, and counted."""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.clock import utc_text
from daemon.compiling import COMPILED
from daemon.config.sections import RetentionSettings
from daemon.durable import removal
from daemon.feature_files import excess
from daemon.learning.schedule import read_duration
from daemon.store.retention import Replaced, Retention, Rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

_BACKUP = re.compile(r".+-(\d{8}T\d{6}Z)\.db")
_PAUSE_S = 0.1
_A_DAY_S = 86_400.0

Pause = Callable[[float], bool]
"""Waits so many seconds and tells whether to end."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What went of one kind: how many, and how many bytes of files or of text."""

    what: str
    count: int
    size: int


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@dataclass(frozen=True, slots=True)
class Pruning:
    """One round over everything; safe beside a running daemon. `now` is seconds since 1970."""

    engine: "Engine"
    state_dir: Path
    keep: RetentionSettings
    now: float
    dry_run: bool = False
    pause: Pause = _sleep

    def run(self) -> Iterator[Removed]:
        """Yield what went, kind by kind; raises `DatabaseError`, `OSError`."""
        rows = Retention(self.engine, self.dry_run)
        if before := self._before(self.keep.events):
            yield self._rows("events", rows.events(before))
            yield self._rows("requests", [rows.requests(before)])
        if before := self._before(self.keep.undelivered):
            yield self._rows("undelivered events", rows.undelivered(before))
        if before := self._before(self.keep.run_logs):
            yield self._rows("logs of training runs", [rows.run_logs(before)])
        if before := self._before(self.keep.bundles):
            yield self._bundles(rows, before)
        yield self._compiled()
        if self.keep.features is not None:
            yield self._features(self.keep.features)
        if before := self._before(self.keep.backups):
            yield self._backups(before)

    def _before(self, age: str | None) -> str | None:
        lasts = None if age is None else read_duration(age)
        return None if lasts is None else utc_text(self.now - lasts.total_seconds())

    def _rows(self, what: str, batches: Iterable[Rows]) -> Removed:
        """Add up batches, with a pause after each in which others can write."""
        total = Rows()
        for batch in batches:
            total += batch
            if batch.count and not self.dry_run and self.pause(_PAUSE_S):
                break
        return Removed(what, total.count, total.size)

    def _bundles(self, rows: Retention, before: str) -> Removed:
        """A version keeps its row, and with it what is known of its predictions."""
        gone = [
            size
            for version in rows.replaced(before)
            if (size := self._bundle(rows, version, before)) is not None
        ]
        return Removed("bundles", len(gone), sum(gone))

    def _bundle(self, rows: Retention, version: Replaced, before: str) -> int | None:
        bundle = self.state_dir / "models" / version.bundle
        if not bundle.is_dir():
            return None
        size = _size(bundle)
        if self.dry_run:
            return size
        with removal(bundle) as remove:
            return size if rows.discard(version, before, remove) else None

    def _compiled(self) -> Removed:
        """Compiled forms are of no use without their bundle."""
        bundles = self.state_dir / "models"
        alone = [
            folder
            for folder in (self.state_dir / COMPILED).glob("*/")
            if not (bundles / folder.name).exists()
        ]
        return self._files("compiled forms", alone)

    def _features(self, most: int) -> Removed:
        shards = excess(self.state_dir / "features", most)
        gone = [shard.size for shard in shards if self.dry_run or shard.remove()]
        return Removed("cached features", len(gone), sum(gone))

    def _backups(self, before: str) -> Removed:
        """Only what we named ourselves, never the newest, and halves of copies a day later."""
        folder = self.state_dir / "backups"
        found = sorted((_stamp(path), path) for path in folder.glob("*.db") if _stamp(path))
        old = [path for stamp, path in found[:-1] if stamp < before]
        return self._files("backups", [*old, *filter(self._is_half, folder.glob("*.db.part"))])

    def _is_half(self, path: Path) -> bool:
        return path.stat().st_mtime < self.now - _A_DAY_S

    def _files(self, what: str, paths: list[Path]) -> Removed:
        sizes = [_size(path) for path in paths]
        for path in () if self.dry_run else paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return Removed(what, len(sizes), sum(sizes))


def _stamp(backup: Path) -> str:
    """Return when a backup was made as its name says it, empty where it is not named by us."""
    if (found := _BACKUP.fullmatch(backup.name)) is None:
        return ""
    return utc_text(datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
