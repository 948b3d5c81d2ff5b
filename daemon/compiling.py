"""A model version in the form that this machine executes fastest, checked against Keras.

For each way of executing a bundle a folder of its own holds the compiled form and `row.json`,
which tells how well it agrees with Keras and how fast it is. A row is made once: its folder is
named after the versions, options and processor that it depends on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.config import Selection
from daemon.contracts import CompiledRuntime, Executable
from daemon.durable import clean_leftovers, publish
from daemon.processor import processor
from daemon.quiet import held_back
from daemon.sums import altered, write_sums
from daemon.text import first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

COMPILED = "compiled"
"""The folder of the state folder that holds all compiled forms: a cache."""
ROW = "row.json"
SIZES = (1, 4, 8, 32)
LEAST_IMAGES = 64
"""Photographs that a less exact way must be compared on: drawn images would flatter it."""
_MEASURED_S, _LONG_S = 0.2, 0.4
_AS_FAST = 0.97


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
        """Images a second in batches of the best size."""
        return max((self.speed or {}).values(), default=0.0)

    @property
    def batch_size(self) -> int | None:
        """The smallest of the batch sizes that are as fast as any."""
        quick = (int(n) for n, speed in (self.speed or {}).items() if speed >= _AS_FAST * self.pace)
        return min(quick, default=None)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of executing a bundle: how it is configured, built, and where its row is.

    `is_exact`: it is the runtime as configured, none of its variants.
    """

    selection: Selection
    runtime: CompiledRuntime
    folder: Path
    is_exact: bool = True

    def row(self) -> Row | None:
        """Return what is known of it; None where it was not tried yet, or is damaged."""
        if altered(self.folder) is not None:
            return None
        try:
            return Row(**json.loads((self.folder / ROW).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def way_of(
    selection: Selection, runtime: CompiledRuntime, bundle: Path, root: Path, is_exact: bool = True
) -> Way:
    """Return where a way's compiled form of a bundle belongs below `root`.

    Raises `RuntimeLoadError` where what the runtime needs is not installed.
    """
    made_of: dict[str, Any] = {"key": dict(runtime.key()), "processor": processor()}
    if not is_exact:  # asked for by name, it is judged by fewer images
        made_of["is_exact"] = False
    text = json.dumps(made_of, sort_keys=True, default=str)
    name = f"{selection.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Way(selection, runtime, root / bundle.name / name, is_exact)


@dataclass(frozen=True, slots=True)
class Trial:
    """Images `uint8[N, H, W, 3]`, what Keras makes of them, and how scores are read: as
    confidences `float32[N, C]`, and novelty `[N]` where the model tells it.

    `photographs` is how many of the images were found here; the others are drawn.
    """

    images: "NDArray[np.uint8]"
    photographs: int
    wanted: "NDArray[np.float32]"
    read: Callable[["NDArray[np.float32]"], tuple[Any, Any]]


def compile_way(way: Way, graph: "ConcreteFunction", trial: Trial) -> Row:
    """Compile a model one way, compare its answers with those wanted, and keep it.

    The folder appears whole; whatever fails is kept too, as a row with an error.
    """
    rows: list[Row] = []

    def fill(part: Path) -> None:
        rows.append(_tried(way, graph, trial, part))
        (part / ROW).write_text(json.dumps(asdict(rows[0])) + "\n", "utf-8")
        write_sums(part)

    def place(part: Path) -> None:
        shutil.rmtree(way.folder, ignore_errors=True)
        part.rename(way.folder)

    clean_leftovers(way.folder.parent)
    publish(way.folder.parent, fill, place)
    return rows[0]


def _tried(way: Way, graph: "ConcreteFunction", trial: Trial, folder: Path) -> Row:
    name, options = way.selection.name, dict(way.selection.options)
    if not way.is_exact and trial.photographs < LEAST_IMAGES:
        return Row(name, options, error=_too_few(trial.photographs))
    with held_back():
        try:
            way.runtime.compile(graph, folder)
            run = way.runtime.open(folder, max(SIZES))
            return compare(name, options, run, trial)
        except Exception as error:  # whatever a runtime does, Keras is still there
            return Row(name, options, error=f"{type(error).__name__}: {first_line(error)}")


def _too_few(photographs: int) -> str:
    return (
        f"not tried: less exact, and there are {photographs} of {LEAST_IMAGES} images to compare"
        " it on (later: `classifyd models compile --anew`)"
    )


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
        _speeds(run, images),
    )


def _speeds(run: Executable, images: "NDArray[np.uint8]") -> dict[str, float]:
    """Return images a second in batches of each size, up to where one takes long."""
    found = {}
    for size in SIZES:
        seconds = _least_seconds(run, images, size)
        found[str(size)] = round(size / seconds, 1)
        if seconds > _LONG_S:
            break
    return found


def _least_seconds(run: Executable, images: "NDArray[np.uint8]", size: int) -> float:
    """Return what the quickest call took, since others may be at work here too."""
    import numpy as np

    batch = np.resize(images, (size, *images.shape[1:]))
    run(batch)
    least, end = float("inf"), time.perf_counter() + _MEASURED_S
    while time.perf_counter() < end:
        began = time.perf_counter()
        run(batch)
        least = min(least, time.perf_counter() - began)
    return least


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
