"""A plugin whose every part raises or hangs, as configured: `plugins: [FOLDER/misbehaving.py]`."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from daemon.contracts import (
    ConfigPath,
    Executor,
    Factory,
    Gate,
    LabelSource,
    Options,
    Retrainer,
    Runtime,
    Sink,
    Source,
)
from daemon.hookspecs import hookimpl
from daemon.testing import BrightnessOptions, BrightnessRuntime, StubExecutor

SAID = "as the test wants"


class TroubleOptions(Options):
    """What it does when it is called, and the folder that tells it was."""

    how: Literal["raise", "hang"] = "raise"
    marks: ConfigPath = Field(description="A file named after the part is put here.")
    title: str = ""


class Trouble:
    """Everything that a part may be asked, answered by an error or never."""

    kind = "nobody"
    folder = None
    reading = "probabilities"
    workers = 1
    runtime = None
    trouble = None

    def __init__(self, options: TroubleOptions) -> None:
        self.title = options.title or f"{self.kind}-{options.how}"
        self.name = self.kind
        self._options = options

    def _fail(self, *_: Any, **__: Any) -> Any:
        mark = Path(self._options.marks) / f"{self.kind}-{self._options.how}"
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        if self._options.how == "hang":
            threading.Event().wait()
        raise RuntimeError(f"{self.kind}: {SAID}")

    def holds(self, path: Path) -> bool:
        """Hold nothing."""
        return False

    def stop(self, deadline_s: float) -> None:
        """End."""

    run = scan = since = publish = close = propose = train = judge = start = submit = _fail


class BadSource(Trouble):
    """A source."""

    kind = "source"


class BadLabels(Trouble):
    """A label source."""

    kind = "labels"


class BadSink(Trouble):
    """A sink."""

    kind = "sink"


class BadRetrainer(Trouble):
    """A retrainer."""

    kind = "retrainer"


class BadGate(Trouble):
    """A gate."""

    kind = "gate"


class BadExecutor(Trouble):
    """An executor that cannot start."""

    kind = "executor"


class HalfExecutor(StubExecutor):
    """An executor that starts, and refuses the first batch."""

    def __init__(self, options: TroubleOptions) -> None:
        super().__init__(lambda batch: None)  # type: ignore[arg-type, return-value]
        self._bad = Trouble(options)

    def submit(self, batch: Any) -> None:
        """Refuse."""
        self._bad.submit(batch)


class BadRuntime(BrightnessRuntime):
    """Sorts by brightness; the darkest images make it raise, the next darkest eat all memory."""

    name = "touchy"

    def load(self, bundle: Path, max_batch: int) -> Any:
        """Return what scores, and sometimes fails."""
        import numpy as np

        score = super().load(bundle, max_batch)

        def run(images: Any) -> Any:
            darkest = images.mean(axis=(1, 2, 3)).min()
            if darkest < 25:
                raise RuntimeError(f"runtime: {SAID}")
            if darkest < 50:
                # Far past the memory that a worker may take.
                np.ones((1 << 40,), np.uint8)
            return score(images)

        return run


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Offer it."""
    return [Factory("bad_source", BadSource, TroubleOptions, "for tests")]


@hookimpl
def register_label_sources() -> Iterable[Factory[LabelSource]]:
    """Offer it."""
    return [Factory("bad_labels", BadLabels, TroubleOptions, "for tests")]


@hookimpl
def register_sinks() -> Iterable[Factory[Sink]]:
    """Offer it."""
    return [Factory("bad_sink", BadSink, TroubleOptions, "for tests")]


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer it."""
    return [Factory("bad_retrainer", BadRetrainer, TroubleOptions, "for tests")]


@hookimpl
def register_gates() -> Iterable[Factory[Gate]]:
    """Offer it."""
    return [Factory("bad_gate", BadGate, TroubleOptions, "for tests")]


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Offer both."""
    return [
        Factory("bad_executor", BadExecutor, TroubleOptions, "for tests"),
        Factory("half_executor", HalfExecutor, TroubleOptions, "for tests"),
    ]


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer it."""
    return [Factory("touchy", BadRuntime, BrightnessOptions, "for tests")]
