"""How a model version is served on this machine: by which runtime, and in which compiled form."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.app import Wiring, bundle_of, worker_setup
from daemon.compiling import COMPILED, Row, Way, chosen, known_rows, way_of
from daemon.config import Selection
from daemon.config.selection import AUTO
from daemon.contracts import CompiledRuntime, WorkerSetup
from daemon.errors import RuntimeLoadError

if TYPE_CHECKING:
    from daemon.store.models import Version

KERAS = Selection("keras")
_COMPILE_S = 900.0
_log = logging.getLogger("classifyd.model")


def compiled_root(wiring: Wiring) -> Path:
    """Return the folder of all compiled forms: a cache, which may be deleted at any time."""
    return wiring.loaded.settings.state_dir / COMPILED


def rows(wiring: Wiring, version: "Version") -> list[Row]:
    """Return what is known of the ways of executing a model version here, the fastest first."""
    return known_rows(bundle_of(version, wiring.loaded.settings), compiled_root(wiring))


def ways(wiring: Wiring, version: "Version") -> list[Way]:
    """Return the ways of executing a model version that the configuration allows beside Keras.

    Raises `RuntimeLoadError` where the runtime that it names is not installed.
    """
    choice = wiring.loaded.settings.runtime
    if choice.name == AUTO:
        names = wiring.catalogue.runtimes.entries
        return [way for name in names for way in _installed(wiring, version, Selection(name))]
    return list(_ways(wiring, version, choice))


def _installed(wiring: Wiring, version: "Version", choice: Selection) -> Iterator[Way]:
    """Yield a runtime's ways and those of its variants; none where it is not installed."""
    try:
        for way in _ways(wiring, version, choice):
            yield way
            for options in way.runtime.variants():
                variant = Selection(choice.name, dict(options))
                yield from _ways(wiring, version, variant, is_exact=False)
    except RuntimeLoadError as error:
        _log.debug("%s", error)


def _ways(
    wiring: Wiring, version: "Version", choice: Selection, is_exact: bool = True
) -> Iterator[Way]:
    runtime = wiring.catalogue.runtimes.build(choice, wiring.loaded.base)
    if isinstance(runtime, CompiledRuntime):
        bundle = bundle_of(version, wiring.loaded.settings)
        yield way_of(choice, runtime, bundle, compiled_root(wiring), is_exact)


def serving_setup(wiring: Wiring, version: "Version") -> WorkerSetup:
    """Return what a worker needs to serve a model version as fast as this machine can.

    Compiles it first where that was not done yet, in a process of its own, which takes seconds.
    Where no compiled form agrees with Keras, Keras serves, and the log says why.
    """
    setup = worker_setup(wiring.loaded, version)
    try:
        candidates = ways(wiring, version)
        if any(way.row() is None for way in candidates):
            _compile_apart(wiring, version)
    except RuntimeLoadError as error:
        _log.warning("model %s is served by keras: %s", version.name, error)
        return _by(setup, KERAS)
    if not candidates:
        return _by(setup, KERAS) if setup.runtime == AUTO else setup
    limits = wiring.loaded.settings.agreement
    best = chosen(candidates, limits.labels, limits.difference)
    if best is None:
        _log.warning("model %s is served by keras: %s", version.name, _why_not(candidates))
        return _by(setup, KERAS)
    row = best.row()
    size = row.batch_size if row is not None else None
    compiled = replace(_by(setup, best.selection), compiled=best.folder, batch_size=size)
    if wiring.loaded.settings.decode.threads == AUTO:
        compiled = replace(compiled, limits=replace(setup.limits, threads=1))
    return compiled


def _by(setup: WorkerSetup, choice: Selection) -> WorkerSetup:
    return replace(setup, runtime=choice.name, runtime_options=dict(choice.options))


def _why_not(candidates: list[Way]) -> str:
    told = []
    for way in candidates:
        row = way.row()
        if row is None:
            told.append(f"{way.selection.name} could not be compiled")
        elif row.error is not None:
            told.append(f"{way.selection.name}: {row.error}")
        else:
            told.append(
                f"{way.selection.name} gives {row.agreement:.1%} of {row.images} images the same"
                f" label, with differences up to {row.difference:.2g}"
            )
    return "; ".join(told)


def _compile_apart(wiring: Wiring, version: "Version") -> None:
    """Compile in a process of its own: it needs Keras, which this one must never load."""
    path = wiring.loaded.path
    command = [sys.executable, "-m", "daemon", "models", "compile", version.name]
    if path is not None:
        command += ["--config", str(path)]
    _log.info("compiling model %s for this machine", version.name)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMPILE_S
        )
    except subprocess.TimeoutExpired:
        _log.warning("compiling model %s took longer than %g s", version.name, _COMPILE_S)
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        _log.warning("model %s could not be compiled: %s", version.name, last)
