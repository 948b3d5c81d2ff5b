"""Looks up, when somebody asks, how daemon, machine and database are."""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine

from daemon import processes
from daemon.clock import Clock, seconds_between, utc_text
from daemon.errors import DatabaseError
from daemon.health import Health
from daemon.metrics import families as f
from daemon.metrics.families import Family
from daemon.store import queries, vitals
from daemon.store.database import reading

Samples: TypeAlias = Mapping[tuple[str, ...], float]
"""A metric's figures by the values of its labels."""
Figures: TypeAlias = Iterator[tuple[Family, Samples]]


class Gathering(Collector):
    """A collector over what is known elsewhere; `places` are folders by what they hold, `sinks`
    the names of those that are configured."""

    def __init__(
        self,
        engine: Engine,
        health: Callable[[], Health],
        places: Mapping[str, Path],
        sinks: Sequence[str],
        database: Path | None,
        version: str,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._health = health
        self._places = places
        self._sinks = tuple(sinks)
        self._database = database
        self._version = version
        self._clock = clock
        self._alone = threading.Lock()  # two who ask at once would count a run twice
        self._runs = vitals.RunCounts()
        self._queue = vitals.Sparing(queries.unfinished, clock)
        self._backlogs = vitals.Sparing(vitals.backlogs, clock)
        self._given_up = vitals.Sparing(vitals.given_up, clock)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every gauge; while the database refuses, all but those that come from it."""
        health = self._health()
        yield from _gauges(self._daemon(health))
        yield from _gauges(self._machine(health))
        try:
            with self._alone, reading(self._engine) as connection:
                told = [*self._told(connection, health)]
        except DatabaseError:
            yield _gauge(f.DATABASE_UP, {(): 0})
        else:
            yield from _gauges(told)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the metrics without looking anything up."""
        return [_gauge(family, {}) for family in f.GATHERED]

    def _daemon(self, health: Health) -> Figures:
        yield f.READY, {(): health.unready is None}
        yield f.BUILD, {(self._version,): 1}
        yield f.WORKERS, {(): health.workers}
        yield f.MODEL_TROUBLE, {(): health.trouble is not None}

    def _machine(self, health: Health) -> Figures:
        yield f.MEMORY, _memory(os.getpid(), health.training)
        disks = {name: _disk(path) for name, path in self._places.items()}
        yield f.DISK_FREE, {(name,): disk[0] for name, disk in disks.items() if disk}
        yield f.DISK_SIZE, {(name,): disk[1] for name, disk in disks.items() if disk}
        if self._database is not None:
            yield (
                f.DATABASE_BYTES,
                {
                    ("main",): _size(self._database),
                    ("wal",): _size(self._database.with_name(f"{self._database.name}-wal")),
                },
            )

    def _told(self, connection: Connection, health: Health) -> Figures:
        now = utc_text(self._clock.now())
        counts = self._queue.read(connection)
        yield f.DATABASE_UP, {(): 1}
        yield f.QUEUE, {(state,): counts.get(state, 0) for state in queries.WAITING}
        yield f.QUARANTINED, {(): counts.get("quarantined", 0)}
        yield f.OLDEST, {(): vitals.oldest_waiting_s(connection, now)}
        yield from _model(queries.active_version(connection), health)
        runs = dict.fromkeys(vitals.RUN_OUTCOMES, 0) | self._runs.read(connection)
        yield f.RUNS, {(outcome,): count for outcome, count in runs.items()}
        up = vitals.sources_up(connection)
        yield f.SOURCE_UP, {(source,): is_up for source, is_up in up.items()}
        lost = dict.fromkeys(self._sinks, 0) | self._given_up.read(connection)
        yield f.GIVEN_UP, {(sink,): count for sink, count in lost.items()}
        yield from self._sink_figures(self._backlogs.read(connection), now)

    def _sink_figures(self, backlogs: Mapping[str, vitals.Backlog], now: str) -> Figures:
        told = {sink: vitals.Backlog(0, 0, now) for sink in self._sinks} | dict(backlogs)
        yield f.PENDING, {(sink,): each.pending for sink, each in told.items()}
        yield f.REFUSALS, {(sink,): each.refusals for sink, each in told.items()}
        ages: Samples = {
            (sink,): seconds_between(each.oldest_at, now) for sink, each in told.items()
        }
        yield f.OLDEST_PENDING, ages


def _model(active: queries.Row | None, health: Health) -> Figures:
    if active is None:
        return
    yield f.MODEL_SINCE, {(): datetime.fromisoformat(active["deployed_at"]).timestamp()}
    if active["name"] == health.model:
        labels = (active["name"], active["backbone"], active["head"], health.runtime or "")
        yield f.MODEL, {labels: 1}


def _memory(main: int, training: int | None) -> Samples:
    """Add up the processes below the main one; one that helps the workers counts as theirs."""
    learning = [] if training is None else [training, *processes.below(training)]
    others = set(processes.below(main)) - set(learning)
    return {
        ("main",): processes.resident_bytes(main),
        ("workers",): sum(map(processes.resident_bytes, others)),
        ("training",): sum(map(processes.resident_bytes, learning)),
    }


def _disk(path: Path) -> tuple[int, int] | None:
    """Return free and all bytes of a place's disk, None where it is gone."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return usage.free, usage.total


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _gauges(figures: Iterable[tuple[Family, Samples]]) -> Iterator[GaugeMetricFamily]:
    return (_gauge(family, samples) for family, samples in figures)


def _gauge(family: Family, samples: Samples) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, value in samples.items():
        gauge.add_metric(labels, float(value))
    return gauge
