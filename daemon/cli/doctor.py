"""`classifyd doctor`: what is wrong with the surroundings, and the remedy."""

import importlib.util
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import daemon
from daemon import doctor as checks
from daemon.cli.common import config_option, load_config
from daemon.cli.output import document_option, write_document
from daemon.cli.paths import source_folders
from daemon.cli.status import process_is_alive
from daemon.doctor import Finding, Folder, Heartbeat, Verdict, fail, ok
from daemon.errors import EXIT_FAILED, ClassifydError
from daemon.text import printable

if TYPE_CHECKING:
    from daemon.config import Loaded

_INOTIFY = Path("/proc/sys/fs/inotify")
_MOST_FOLDERS, _WALK_S, _INTEGRITY_S = 100_000, 1.0, 1.0
_FOREIGN_MODULES = ("daemon.py", "pidfile.py", "runner.py")
_REMEDY = "do what the message says"


@click.command()
@config_option
@document_option
def doctor(config: Path | None, form: str) -> None:
    """Check folders, limits, disk, database, model and installation.

    Exits 1 when something keeps the daemon from its work.

    \b
    Example:
      classifyd doctor                  before the first start, and when in doubt
    """
    findings = list(_findings(config))
    if form == "json":
        write_document([asdict(finding) for finding in findings])
    else:
        for line in _lines(findings):
            click.echo(line)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        sys.exit(EXIT_FAILED)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.verdict:<6}{printable(finding.check)}: {printable(finding.says)}"
        if finding.remedy:
            yield f"      -> {printable(finding.remedy)}"


def _findings(config: Path | None) -> Iterator[Finding]:
    yield from _installation()
    try:
        loaded = load_config(config)
        broken = _broken_plugins(loaded)
    except ClassifydError as error:
        yield fail("configuration", str(error), _REMEDY)
        return
    yield ok("configuration", f"{loaded.path} is valid")
    for name, reason in broken.items():
        yield fail(f"plugin {name}", reason, "mend or remove it; the others are loaded")
    yield from _places(loaded)
    if not broken:
        yield checks.check_weights(_weights_trouble(loaded))
    yield from _inotify(source_folders(loaded))
    yield _metrics(loaded)
    yield from _database(loaded)


def _installation() -> Iterator[Finding]:
    version = sys.version_info
    yield checks.check_python((version.major, version.minor, version.micro))
    ours = Path(daemon.__file__).parent
    foreign = [name for name in _FOREIGN_MODULES if (ours / name).exists()]
    yield checks.check_distribution(_installed("python-daemon"), foreign)
    yield checks.check_tensorflow(importlib.util.find_spec("tensorflow") is not None)
    yield checks.check_processor(_text(Path("/proc/cpuinfo")) or "")


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _broken_plugins(loaded: "Loaded") -> Mapping[str, str]:
    from daemon.app import make_catalogue

    catalogue = make_catalogue(loaded.settings)
    catalogue.validate(loaded.settings, loaded.base, loaded.origins)
    return catalogue.plugins.broken


def _places(loaded: "Loaded") -> Iterator[Finding]:
    from daemon.app import places
    from daemon.room import free_bytes
    from daemon.store.database import sqlite_path

    for path in source_folders(loaded):
        yield checks.check_source(_folder(path))
    least = loaded.settings.disk.min_free or 0
    for what, path in places(loaded.settings).items():
        existing = next(p for p in (path, *path.parents) if p.exists())
        yield checks.check_place(what, _folder(existing), free_bytes(existing), least)
    database = sqlite_path(loaded.settings.database)
    if database is not None and (files := _files_of(database)):
        unwritable = [file for file in files if not os.access(file, os.W_OK)]
        yield checks.check_files(unwritable)


def _folder(path: Path) -> Folder:
    exists = path.is_dir()
    return Folder(
        path,
        exists=exists,
        is_readable=os.access(path, os.R_OK | os.X_OK),
        is_writable=os.access(path, os.W_OK | os.X_OK),
        has_parent=path.parent.is_dir(),
        is_on_read_only_disk=exists and bool(os.statvfs(path).f_flag & os.ST_RDONLY),
    )


def _files_of(database: Path) -> list[Path]:
    files = (database.with_name(database.name + end) for end in ("", "-wal", "-shm", ".lock"))
    return [file for file in files if file.exists()]


def _weights_trouble(loaded: "Loaded") -> str | None:
    from daemon import app
    from daemon.at_hand import check_at_hand
    from daemon.errors import WeightsError

    app.prepare_environment(loaded.settings)
    try:
        check_at_hand(app.Wiring(loaded), loaded.settings.model)
    except WeightsError as error:
        return f"{loaded.settings.model.backbone.name}: {error}"
    return None


def _inotify(folders: Sequence[Path]) -> Iterator[Finding]:
    count, is_all = _count_folders(folders, time.monotonic)
    yield checks.check_watches(_limit("max_user_watches"), count, is_all)
    yield checks.check_instances(_limit("max_user_instances"), len(folders))


def _limit(name: str) -> int | None:
    text = _text(_INOTIFY / name)
    return None if text is None else int(text)


def _count_folders(roots: Sequence[Path], clock: Callable[[], float]) -> tuple[int, bool]:
    """Count folders under the roots, as far as a bounded walk comes."""
    deadline, count, waiting = clock() + _WALK_S, 0, [str(root) for root in roots]
    while waiting:
        if count >= _MOST_FOLDERS or clock() > deadline:
            return count, False
        count += 1
        try:
            with os.scandir(waiting.pop()) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            count -= 1
    return count, True


def _metrics(loaded: "Loaded") -> Finding:
    from daemon import monitoring, processes
    from daemon.lock import database_lock
    from daemon.store.database import sqlite_path

    settings = loaded.settings.metrics
    if settings.port is None:
        return checks.check_metrics(None, None, None, None)
    database = sqlite_path(loaded.settings.database)
    running = None if database is None else database_lock(database).holder()
    found = monitoring.look(settings)
    trouble = None if found is None else (found.says, f"metrics.{found.key}: {found.remedy}")
    return checks.check_metrics(settings.port, trouble, processes.listener(settings.port), running)


def _database(loaded: "Loaded") -> Iterator[Finding]:
    from daemon.store import queries
    from daemon.store.database import open_engine, reading, sqlite_path
    from daemon.store.migrate import require_current

    path = sqlite_path(loaded.settings.database)
    if path is not None and not path.exists():
        yield checks.warn(
            "database",
            f"{path} does not exist yet",
            "`classifyd run` makes it, or `classifyd db upgrade`",
        )
        return
    try:
        engine = open_engine(loaded.settings.database)
        require_current(engine, loaded.settings.database)
        yield ok("database", f"{loaded.settings.database} has the schema of this program")
        if path is not None:
            yield checks.check_integrity(_integrity(path))
        with reading(engine) as connection:
            beat, model = queries.heartbeat(connection), queries.active_version(connection)
    except ClassifydError as error:
        yield fail("database", str(error), _REMEDY)
        return
    yield checks.check_daemon(_heartbeat(beat))
    yield _check_model(model, loaded.settings.state_dir / "models")


def _integrity(path: Path) -> list[str] | None:
    """Let SQLite look for damage for a while; None when that was not enough to read all."""
    deadline = time.monotonic() + _INTEGRITY_S
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.OperationalError as error:
        return None if "interrupted" in str(error) else [str(error)]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    finally:
        connection.close()
    return [] if found == ["ok"] else found


def _heartbeat(beat: dict[str, Any] | None) -> Heartbeat | None:
    if beat is None:
        return None
    age = datetime.now(UTC) - datetime.fromisoformat(beat["beat_at"])
    is_alive = process_is_alive(beat["pid"])
    return Heartbeat(beat["pid"], beat["phase"], age.total_seconds(), is_alive)


def _check_model(model: dict[str, Any] | None, models: Path) -> Finding:
    from daemon.artifacts import read_manifest

    if model is None:
        return checks.warn(
            "model",
            "no model version is active",
            "`classifyd run` registers the bundled one; or `classifyd models train FOLDER`",
        )
    try:
        read_manifest(models / model["bundle"])
    except ClassifydError as error:
        back = "`classifyd models activate` another version, or `classifyd models rollback`"
        return fail("model", str(error), back)
    return ok("model", f"{model['name']} is whole and unaltered")
