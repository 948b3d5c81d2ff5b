"""Wires metrics and health checks: the address bound, the pages over a service and a database."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

from daemon import processes
from daemon.config import Loaded
from daemon.config.origins import located
from daemon.config.sections import MetricsSettings
from daemon.delivery import sink_names
from daemon.errors import ConfigError
from daemon.observing import Nobody, Observer
from daemon.text import printable

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from sqlalchemy import Engine

    from daemon.metrics.server import Page, Server
    from daemon.service import Service


class Monitor(Protocol):
    """Hears what a service does, and answers those who ask of it."""

    observer: Observer

    def watch(self, engine: "Engine", service: "Service") -> None:
        """Answer from now on."""


class _Off:
    def __init__(self) -> None:
        self.observer: Observer = Nobody()

    def watch(self, engine: "Engine", service: "Service") -> None:
        """Nobody can ask."""


class _Serving:
    def __init__(self, loaded: Loaded, server: "Server") -> None:
        from prometheus_client import (
            CollectorRegistry,
            ProcessCollector,
            disable_created_metrics,
        )

        from daemon.metrics.counting import Counting

        self._loaded = loaded
        self._server = server
        self._sinks = sink_names([choice.name for choice in loaded.settings.sinks])
        disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.observer: Observer = Counting(self._registry, self._sinks)

    def watch(self, engine: "Engine", service: "Service") -> None:
        """Tell of a service in place of its start."""
        from daemon.app import places
        from daemon.clock import SystemClock
        from daemon.metrics.gathering import Gathering
        from daemon.store.database import sqlite_path

        settings = self._loaded.settings
        gathering = Gathering(
            engine,
            service.health,
            places(settings),
            self._sinks,
            sqlite_path(settings.database),
            metadata.version("classifyd"),
            SystemClock(),
        )
        self._registry.register(gathering)
        ready = health_page(lambda: service.health().unready, "ready")
        live = health_page(lambda: service.health().stuck, "alive")
        self._server.pages = _pages(metrics_page(self._registry), ready, live)


@contextmanager
def monitored(loaded: Loaded) -> Iterator[Monitor]:
    """Listen as `metrics` in the settings says; raises `ConfigError` where that is not possible."""
    settings = loaded.settings.metrics
    if settings.port is None:
        yield _Off()
        return
    from daemon.metrics.server import Server

    early = health_page(lambda: "the database is being opened", "")
    try:
        pages = _pages(early, early, health_page(lambda: None, "alive"))
        server = Server(settings.host, settings.port, pages)
    except OSError as error:
        found = refusal(settings, error)
        text = f"{found.says}; {found.remedy}"
        raise ConfigError(located(f"metrics.{found.key}", text, loaded.origins)) from error
    server.start()
    try:
        yield _Serving(loaded, server)
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an address cannot be listened on, which key of `metrics` says so, and the remedy."""

    key: str
    says: str
    remedy: str


def look(settings: MetricsSettings) -> Refusal | None:
    """Return why it cannot be listened as the settings say, None where it can."""
    from daemon.metrics.server import Server

    try:
        Server(settings.host, settings.port or 0, {}).stop()
    except OSError as error:
        return refusal(settings, error)
    return None


def refusal(settings: MetricsSettings, error: OSError) -> Refusal:
    """Say what an error of listening means."""
    where = f"{settings.host} port {settings.port}"
    match error.errno:
        case errno.EADDRINUSE:
            says = f"{where} is taken by {holder_of(settings.port or 0)}"
            return Refusal("port", says, _ANOTHER_PORT)
        case errno.EACCES | errno.EPERM:
            return Refusal("port", f"this user may not listen on {where}", _ANOTHER_PORT)
    says = f"{where} cannot be listened on ({error.strerror})"
    return Refusal("host", says, "give an address of this machine; 127.0.0.1 is for itself alone")


_ANOTHER_PORT = (
    "give this daemon another (each on a machine needs its own), or null to do without metrics"
)


def holder_of(port: int) -> str:
    """Say who listens on a port, as far as this user may know."""
    pid = processes.listener(port)
    if pid is None:
        return f"another program (`ss -ltnp sport = :{port}`, as root, tells which)"
    return f"process {pid} ({printable(processes.command(pid))[:80]})"


def _pages(metrics: "Page", ready: "Page", live: "Page") -> "dict[str, Page]":
    return {
        "/metrics": metrics,
        "/healthz": ready,
        "/healthz/ready": ready,
        "/healthz/live": live,
    }


def metrics_page(registry: "CollectorRegistry") -> "Page":
    """Return a page of all figures, as OpenMetrics for those who accept that, else as text.

    What a client sends goes no further than that choice.
    """
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    from daemon.metrics.server import Answer

    def page(accept: str) -> Answer:
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return Answer(body, openmetrics.CONTENT_TYPE_LATEST)
        return Answer(exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4)

    return page


def health_page(trouble: Callable[[], str | None], well: str) -> "Page":
    """Return a page that says it is well, or, with status 503, what is not."""
    from daemon.metrics.server import Answer

    def page(_accept: str) -> Answer:
        found = trouble()
        status = HTTPStatus.OK if found is None else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(f"{printable(found or well)}\n".encode(), status=status)

    return page
