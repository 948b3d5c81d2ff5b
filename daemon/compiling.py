"""A model version in the form that this machine executes fastest, checked against Keras.

For each way of executing a bundle a folder of its own holds the compiled form and `row.json`,
which tells how well it agrees with Keras and how fast it is. A row is made once: its folder is
named after the versions, options and processor that it depends on.
"""

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.config import Selection
from daemon.contracts import CompiledRuntime, Executable
from daemon.durable import clean_leftovers, publish

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

COMPILED = "compiled"
"""The folder of the state folder that holds all compiled forms: a cache."""
ROW = "row.json"
SIZES = (1, 8, 32)
_MEASURED_S, _CALLS = 0.2, 3


@dataclass(frozen=True, slots=True)
class Row:
    """How one way of executing a bundle did on `images` images.

    `agreement` is the share of images with Keras' label, `difference` the largest difference of a
    confidence (or of the novelty); `speed` maps batch sizes to images a second. `error` says why
    there is nothing to tell.
    """

    runtime: str
    options: Mapping[str, Any]
    agreement: float = 0.0
    difference: float = 0.0
    images: int = 0
    speed: Mapping[str, float] | None = None
    error: str | None = None

    def agrees(self, agreement: float, difference: float) -> bool:
        """Tell whether it may stand in for Keras."""
        is_alike = self.agreement >= agreement and self.difference <= difference
        return self.error is None and is_alike

    @property
    def pace(self) -> float:
        """Images a second in batches of a middle size."""
        return (self.speed or {}).get("8", 0.0)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of executing a bundle: how it is configured, built, and where its row is."""

    selection: Selection
    runtime: CompiledRuntime
    folder: Path

    def row(self) -> Row | None:
        """Return what is known of it; None where it was not tried yet."""
        try:
            return Row(**json.loads((self.folder / ROW).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def way_of(selection: Selection, runtime: CompiledRuntime, bundle: Path, root: Path) -> Way:
    """Return where a way's compiled form of a bundle belongs below `root`.

    Raises `RuntimeLoadError` where what the runtime needs is not installed.
    """
    made_of = {"key": dict(runtime.key()), "processor": _processor()}
    text = json.dumps(made_of, sort_keys=True, default=str)
    name = f"{selection.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Way(selection, runtime, root / bundle.name / name)


@dataclass(frozen=True, slots=True)
class Trial:
    """Images `uint8[N, H, W, 3]`, what Keras makes of them, and how scores are read: as
    confidences `float32[N, C]`, and novelty `[N]` where the model tells it."""

    images: "NDArray[np.uint8]"
    wanted: "NDArray[np.float32]"
    read: Callable[["NDArray[np.float32]"], tuple[Any, Any]]


def compile_way(way: Way, model: "keras.Model", trial: Trial) -> Row:
    """Compile a model one way, compare its answers with those wanted, and keep it.

    The folder appears whole; whatever fails is kept too, as a row with an error.
    """
    rows: list[Row] = []

    def fill(part: Path) -> None:
        rows.append(_tried(way, model, trial, part))
        (part / ROW).write_text(json.dumps(asdict(rows[0])) + "\n", "utf-8")

    def place(part: Path) -> None:
        shutil.rmtree(way.folder, ignore_errors=True)
        part.rename(way.folder)

    clean_leftovers(way.folder.parent)
    publish(way.folder.parent, fill, place)
    return rows[0]


def _tried(way: Way, model: "keras.Model", trial: Trial, folder: Path) -> Row:
    name, options = way.selection.name, dict(way.selection.options)
    try:
        way.runtime.compile(model, folder)
        run = way.runtime.open(folder, max(SIZES))
        return compare(name, options, run, trial)
    except Exception as error:  # whatever a runtime does, Keras is still there
        return Row(name, options, error=f"{type(error).__name__}: {error}")


def compare(name: str, options: Mapping[str, Any], run: Executable, trial: Trial) -> Row:
    """Compare what an executable makes of images with what is wanted, and time it."""
    import numpy as np

    images = trial.images
    parts = [run(images[start : start + 32]) for start in range(0, len(images), 32)]
    sure, novelty = trial.read(np.concatenate(parts))
    wanted, wanted_novelty = trial.read(trial.wanted)
    apart = float(np.abs(sure - wanted).max())
    if novelty is not None:
        apart = max(apart, float(np.abs(novelty - wanted_novelty).max()))
    return Row(
        name,
        options,
        round(float((sure.argmax(axis=1) == wanted.argmax(axis=1)).mean()), 6),
        round(apart, 9),
        len(images),
        {str(size): round(_speed(run, images, size), 1) for size in SIZES},
    )


def _speed(run: Executable, images: "NDArray[np.uint8]", size: int) -> float:
    """Return images a second: of the quickest call, since others may be at work here too."""
    import numpy as np

    batch = np.resize(images, (size, *images.shape[1:]))
    run(batch)
    least, calls, end = float("inf"), 0, time.perf_counter() + _MEASURED_S
    while calls < _CALLS or time.perf_counter() < end:
        began = time.perf_counter()
        run(batch)
        least, calls = min(least, time.perf_counter() - began), calls + 1
    return size / least


def chosen(ways: Sequence[Way], agreement: float, difference: float) -> Way | None:
    """Return the fastest way that agrees with Keras; None where none does."""
    rows = [(way, row) for way in ways if (row := way.row()) is not None]
    good = [(way, row) for way, row in rows if row.agrees(agreement, difference)]
    return max(good, key=lambda each: each[1].pace)[0] if good else None


def known_rows(bundle: Path, root: Path) -> list[Row]:
    """Return all that was found out about a bundle on this machine, the fastest first."""
    rows = []
    for path in sorted((root / bundle.name).glob(f"*/{ROW}")):
        try:
            rows.append(Row(**json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(rows, key=lambda row: -row.pace)


def _processor() -> dict[str, str]:
    """Return what tells one kind of processor from another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {name.strip(): value.strip() for name, value in fields.items()}
    return {
        "machine": platform.machine(),
        "model": told.get("model name", ""),
        "flags": told.get("flags", told.get("Features", "")),
    }
