"""The one place where all parts are wired: settings in, a running service out."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import plugins
from daemon.catalogue import Catalogue, check_titles
from daemon.config import Loaded, Selection, Settings, load
from daemon.domain import SCAN_TITLE
from daemon.filing import keep_apart
from daemon.label_sources import build_label_sources, has_many_labels
from daemon.loader import load_plugins

if TYPE_CHECKING:
    import click
    from sqlalchemy import Engine

    from daemon.contracts import DecodeLimits, LabelSource, Sink, Source, WorkerSetup
    from daemon.labelling import Labelling
    from daemon.observing import Observer
    from daemon.pipeline import Lane
    from daemon.pruning import Pause, Removed
    from daemon.service import Parts, Service
    from daemon.store.models import Models, Version
    from daemon.systemd import Systemd
    from daemon.upkeep import Upkeep

_log = logging.getLogger("classifyd")
BUNDLED_MODEL = Path(plugins.__file__).parent / "bundled" / "cifar10"


def make_catalogue(settings: Settings) -> Catalogue:
    """Load all plugins: those in the box, installed ones, and those the settings name."""
    return Catalogue(load_plugins(plugins.BUILTIN, settings.plugins))


def add_plugin_commands(cli: "click.Group", taken: Sequence[str]) -> None:
    """Add the commands of plugins; the configuration, where there is one, names more plugins."""
    from daemon.cli import config_from_arguments

    loaded = load(config_from_arguments(sys.argv), os.environ, required=False)
    make_catalogue(loaded.settings).commands(cli, taken)


def prepare_environment(settings: Settings) -> None:
    """Set what Keras and TensorFlow read when they are imported, here and in our processes."""
    os.environ.setdefault("KERAS_HOME", str(settings.state_dir / "keras"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def make_folders(settings: Settings) -> None:
    """Make the state folder; raises `ConfigError` where that is not possible."""
    from daemon.durable import make_folder
    from daemon.errors import ConfigError, way_out

    try:
        make_folder(settings.state_dir)
    except OSError as error:
        raise ConfigError(
            f"state_dir: {settings.state_dir} cannot be made ({error.strerror}); "
            f"{way_out(error)}, or name another folder"
        ) from error


def upgraded_engine(loaded: Loaded) -> "Engine":
    """Bring the database up to date (made where missing, backed up where old) and open it."""
    from daemon.progress import stages
    from daemon.store.database import open_lasting
    from daemon.store.migrate import STAGES, upgrade

    settings = loaded.settings
    backups = settings.state_dir / "backups"
    with stages(STAGES) as progress:
        done = upgrade(settings.database, backups, progress, settings.disk.min_free)
    if done.backup is not None:
        _log.info("database upgraded to schema %s; backup: %s", done.after, done.backup)
    return open_lasting(settings.database)


def places(settings: Settings) -> dict[str, Path]:
    """Return the folders in which disk space is needed, by their keys in the settings."""
    from daemon.store.database import sqlite_path

    found = {"state_dir": settings.state_dir}
    if (database := sqlite_path(settings.database)) is not None:
        found["database"] = database.parent
    return found


def require_room_to_train(settings: Settings) -> None:
    """Raise `NoRoomError` where the disks are too full for training."""
    from daemon.room import require_room

    require_room(places(settings), settings.disk.min_free, "training")


def register_bundle(models: "Models", source: Path, settings: Settings, now: str) -> "Version":
    """Copy a bundle into the state folder and register it as a model version.

    Raises `BundleError` where it cannot be copied, `NoRoomError` on a full disk.
    """
    from daemon.artifacts import install_bundle, registering
    from daemon.errors import BundleError, NoRoomError, is_full, way_out

    folder = settings.state_dir / "models"
    try:
        with registering(folder):
            return register_installed(models, install_bundle(source, folder), now)
    except OSError as error:
        kind = NoRoomError if is_full(error) else BundleError
        raise kind(
            f"{folder}: the bundle {source.name} cannot be copied there ({error.strerror}); "
            f"{way_out(error)}"
        ) from error


def register_installed(
    models: "Models", bundle: Path, now: str, training_run_id: int | None = None
) -> "Version":
    """Register a bundle that lies in the state folder; raises `BundleError` if it is damaged."""
    from daemon.artifacts import digest, read_manifest
    from daemon.store.models import NewVersion

    manifest = read_manifest(bundle)
    new = NewVersion(
        manifest.name,
        digest(bundle),
        bundle.name,
        manifest.backbone.name,
        manifest.head.name,
        manifest.classes,
        manifest.metrics,
        training_run_id,
    )
    return models.register(new, now)


def bundle_of(version: "Version", settings: Settings) -> Path:
    """Return where a model version's bundle lies; the database keeps only its name, so that the
    state folder can be moved."""
    return settings.state_dir / "models" / version.bundle


def check_bundle(version: "Version", settings: Settings) -> None:
    """Raise `BundleError`, which tells how to go on, where a version's bundle is not whole."""
    from daemon.artifacts import read_manifest
    from daemon.errors import BundleError

    bundle = bundle_of(version, settings)
    try:
        read_manifest(bundle)
    except BundleError as error:
        raise BundleError(
            f"model version {version.name}: {error}, put {bundle} back from a backup, or go on "
            "with another version: `classifyd models rollback`, `classifyd models activate NAME`"
        ) from error


def ensure_active_model(models: "Models", settings: Settings, now: str) -> "Version":
    """Return the active model version; before the first deployment, deploy the bundled one."""
    from daemon.delivery import sink_names

    active = models.active()
    if active is not None:
        return active
    version = register_bundle(models, BUNDLED_MODEL, settings, now)
    sinks = sink_names([choice.name for choice in settings.sinks])
    models.deploy(version, "first start: the bundled model", None, now, sinks)
    return version


def decode_limits(settings: Settings) -> "DecodeLimits":
    """Return what decoding may cost, from the settings."""
    from daemon.contracts import DecodeLimits

    decode = settings.decode
    threads = decode.threads if isinstance(decode.threads, int) else _cores()
    return DecodeLimits(
        max_pixels=decode.max_pixels,
        max_bytes=decode.max_bytes,
        max_memory_mb=decode.max_memory_mb,
        timeout_s=decode.timeout_s,
        threads=threads,
        formats=frozenset(decode.formats),
        scaled=decode.scaled,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def worker_setup(loaded: Loaded, version: "Version") -> "WorkerSetup":
    """Return what a worker needs to serve a model version."""
    from daemon.contracts import WorkerSetup

    settings = loaded.settings
    return WorkerSetup(
        bundle=bundle_of(version, settings),
        runtime=settings.runtime.name,
        runtime_options=dict(settings.runtime.options),
        limits=decode_limits(settings),
        max_batch=settings.batch.max_size,
        base=loaded.base,
        plugins=settings.plugins,
        unknown_threshold=settings.unknown.threshold,
        unknown_novelty=settings.unknown.novelty,
    )


class Wiring:
    """One configuration's parts; a reload replaces `loaded` and what depends on it."""

    def __init__(self, loaded: Loaded) -> None:
        from daemon.clock import SystemClock

        self.loaded = loaded
        self._labels: tuple[Loaded, list[LabelSource]] | None = None
        self._sinks: dict[str, Sink] | None = None
        self.clock = SystemClock()
        self.catalogue = make_catalogue(loaded.settings)
        for name, reason in self.catalogue.plugins.broken.items():
            _log.error("plugin %s is left out: %s", name, reason)
        self.catalogue.validate(loaded.settings, loaded.base, loaded.origins)

    def sources(self) -> list["Source"]:
        """Build all sources, those of label sources too; raises `ConfigError`."""
        table, settings = self.catalogue.sources, self.loaded.settings
        built = {
            f"sources.{number}": table.build(choice, self.loaded.base)
            for number, choice in enumerate(settings.sources)
        }
        keys = (f"labels.{key}" for key, _ in settings.labels.selections())
        heard = zip(keys, self.label_sources(), strict=True)
        built |= {key: labels.folder for key, labels in heard if labels.folder is not None}
        check_titles(built, self.loaded.origins)
        keep_apart(self.sinks().values(), built, self.loaded.origins)
        return list(built.values())

    def sinks(self) -> dict[str, "Sink"]:
        """Return the configured sinks by their names, built once; raises `ConfigError`."""
        from daemon.delivery import sink_names

        if self._sinks is None:
            choices, base = self.loaded.settings.sinks, self.loaded.base
            built = (self.catalogue.sinks.build(choice, base) for choice in choices)
            self._sinks = dict(zip(sink_names([each.name for each in choices]), built, strict=True))
        return self._sinks

    def label_sources(self) -> list["LabelSource"]:
        """Return the configured label sources, built once; raises `ConfigError`."""
        if self._labels is None or self._labels[0] is not self.loaded:
            self._labels = self.loaded, build_label_sources(self.catalogue, self.loaded)
        return self._labels[1]

    def labellings(self, engine: "Engine") -> list["Labelling"]:
        """Wire each label source to the database."""
        from daemon.labelling import Labelling

        many = has_many_labels(self.catalogue, self.loaded)
        return [Labelling(engine, source, many, self.clock) for source in self.label_sources()]

    def folder_source(self, path: Path) -> "Source":
        """Build a source that looks at a folder which no configured source holds."""
        options = {"path": str(path), "title": SCAN_TITLE, "create": False}
        return self.catalogue.sources.build(Selection("folder", options), self.loaded.base)

    def make_lane(self, version: "Version") -> "Lane":
        """Build an executor, still without workers, for a model version."""
        from daemon.pipeline import Lane

        choice = self.loaded.settings.executor
        executor = self.catalogue.executors.build(choice, self.loaded.base)
        return Lane(executor, version.version_id, version.name)

    def service(
        self,
        engine: "Engine",
        observer: "Observer | None" = None,
        systemd: "Systemd | None" = None,
    ) -> "Service":
        """Wire a service over an open, upgraded database; `observer` hears of its work, `systemd`
        of how it is."""
        from daemon.observing import Nobody
        from daemon.service import Service
        from daemon.systemd import Systemd

        silent = Systemd(None, self.clock)
        return Service(self._parts(engine, observer or Nobody(), systemd or silent))

    def _parts(self, engine: "Engine", observer: "Observer", systemd: "Systemd") -> "Parts":
        from daemon.arrivals import Arrivals
        from daemon.artifacts import adopt
        from daemon.clock import utc_text
        from daemon.delivery import Delivery
        from daemon.durable import clean_leftovers
        from daemon.label_changes import LabelChanges
        from daemon.loop import Loop
        from daemon.mailbox import Mailbox
        from daemon.observing import ObservedSink
        from daemon.pipeline import BatchRule, Lane, Pipeline
        from daemon.requests import Requests
        from daemon.retrain_thread import RetrainThread
        from daemon.room import DiskGuard
        from daemon.service import Parts
        from daemon.store.board import Board
        from daemon.store.inbox import Inbox
        from daemon.store.models import Models, Version
        from daemon.store.outbox import Outbox
        from daemon.store.recording import Recorder
        from daemon.switching import Switcher
        from daemon.tries import Tries
        from daemon.vigil import Vigil
        from daemon.watchers import DeliveryThreads, LabelThreads

        settings = self.loaded.settings
        sinks, outbox = self.sinks(), Outbox(engine)
        outbox.keep_only(list(sinks))
        models, folder = Models(engine), settings.state_dir / "models"
        now = utc_text(self.clock.now())
        clean_leftovers(folder)
        adopt(folder, models.bundles, lambda bundle: register_installed(models, bundle, now))
        ensure_active_model(models, settings, now)
        mailbox, board = Mailbox(), Board(engine)
        owner = f"{os.uname().nodename}:{os.getpid()}"
        inbox = Inbox(engine, owner)
        recorder = Recorder(engine, owner, list(sinks), Tries(self.clock))
        rule = BatchRule(settings.batch.max_size, settings.batch.max_delay_ms / 1000)
        pipeline = Pipeline(inbox, recorder, rule, self.clock, observer)
        arrivals = Arrivals(inbox, self.clock)
        observed = (ObservedSink(name, sink, observer, self.clock) for name, sink in sinks.items())
        deliveries = [Delivery(each.name, each, outbox, self.clock) for each in observed]

        def start(lane: Lane, version: Version) -> None:
            from daemon.serving import serving_setup

            check_bundle(version, self.loaded.settings)
            lane.executor.start(serving_setup(self, version), mailbox.put)

        switcher = Switcher(models, pipeline, mailbox, self.make_lane, start)
        return Parts(
            clock=self.clock,
            mailbox=mailbox,
            inbox=inbox,
            board=board,
            arrivals=arrivals,
            pipeline=pipeline,
            switcher=switcher,
            requests=Requests(engine, board, pipeline, switcher, self.clock),
            delivery=DeliveryThreads(deliveries, self.clock),
            label_threads=lambda: LabelThreads(self.labellings(engine), self.clock),
            retrain=RetrainThread(LabelChanges(self, engine), self.clock),
            guard=DiskGuard(places(settings), lambda: self.loaded.settings.disk.min_free),
            upkeep=self._upkeep(engine),
            vigil=Vigil(systemd, pipeline, switcher, self._batch_limit_s, self.clock),
            loop=Loop(mailbox, inbox, arrivals, pipeline, switcher, board, self.clock),
            formats=tuple(sorted(settings.decode.formats)),
        )

    def _batch_limit_s(self) -> float:
        from daemon.vigil import batch_limit_s

        settings = self.loaded.settings
        return batch_limit_s(settings.decode.timeout_s, settings.batch.max_size)

    def _upkeep(self, engine: "Engine") -> "Upkeep":
        from daemon.pruning import Pruning
        from daemon.store.database import sqlite_path
        from daemon.store.maintenance import cut_log, log_size
        from daemon.upkeep import Upkeep

        database = sqlite_path(self.loaded.settings.database)
        assert database is not None, "no other database is supported"

        def prune(now: float, pause: "Pause") -> "Iterator[Removed]":
            settings = self.loaded.settings
            return Pruning(engine, settings.state_dir, settings.retention, now, pause=pause).run()

        return Upkeep(partial(log_size, database), partial(cut_log, engine), prune, self.clock)


def open_lock(loaded: Loaded) -> contextlib.AbstractContextManager[object]:
    """Return the lock that one daemon a database holds."""
    from daemon.lock import database_lock
    from daemon.store.database import sqlite_path

    path = sqlite_path(loaded.settings.database)
    return contextlib.nullcontext() if path is None else database_lock(path)
