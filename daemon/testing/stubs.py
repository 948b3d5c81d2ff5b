"""In-process stubs: a clock, an intake, an executor, a runtime and bundles."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from daemon.artifacts import MANIFEST_FILE, MODEL_FILE, read_manifest, write_bundle
from daemon.contracts import Executable, Factory, Options, Runtime, WorkerSetup
from daemon.domain import Batch, BatchResult, Sighting
from daemon.hookspecs import hookimpl
from daemon.manifest import BackbonePart, Manifest, Part, StoredFile
from daemon.preprocessing import Geometry, Scaling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = tuple(f"band-{number}" for number in range(10))


class ManualClock:
    """A clock (`daemon.clock.Clock`) that only moves when told to."""

    def __init__(self, now: float = 1_777_636_800.0) -> None:
        self._elapsed = 0.0
        self._now = now

    def elapsed(self) -> float:
        """Seconds moved since the clock was made."""
        return self._elapsed

    def now(self) -> float:
        """Seconds since 1970 UTC; begins at 12:00 on 1 May 2026."""
        return self._now + self._elapsed

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._elapsed += seconds

    def set_by(self, seconds: float) -> None:
        """Set the wall clock forward, or back; what has elapsed stays."""
        self._now += seconds


class RecordingIntake:
    """An `Intake` that keeps what a source hands in: what is there now, alarms, listings."""

    def __init__(self) -> None:
        self.there: dict[bytes, Sighting] = {}
        self.alarms: list[str | None] = []
        self.ways: list[str] = []
        self.listings: list[bool] = []
        self.note: str | None = None
        self._lock = threading.Lock()

    def found(self, sightings: Sequence[Sighting]) -> None:
        """Keep the newest sighting of each path."""
        with self._lock:
            self.there.update({sighting.path: sighting for sighting in sightings})

    def missing(self, paths: Sequence[bytes]) -> None:
        """Drop paths."""
        with self._lock:
            for path in paths:
                self.there.pop(path, None)

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        """Take a full walk; after a complete one, what was not in it is dropped."""
        met = {sighting.path: sighting for chunk in sightings for sighting in chunk}
        whole = complete()
        with self._lock:
            self.there = met if whole else self.there | met
            self.listings.append(whole)

    def alarm(self, message: str | None) -> None:
        """Keep an alarm, or None for its end."""
        self.alarms.append(message)

    def remember(self, note: str) -> None:
        """Keep the source's note."""
        self.note = note

    def recall(self) -> str | None:
        """Return the note."""
        return self.note

    def watching(self, how: str) -> None:
        """Keep how changes are noticed."""
        self.ways.append(how)


class StubExecutor:
    """An `Executor` without processes: keeps batches until told to deliver `answer(batch)`."""

    def __init__(self, answer: Callable[[Batch], BatchResult], workers: int = 1) -> None:
        self.workers = workers
        self.runtime: str | None = None
        self.trouble: str | None = None
        self.setup: WorkerSetup | None = None
        self.waiting: list[Batch] = []
        self.is_stopped = False
        self._answer = answer
        self._deliver: Callable[[BatchResult], None] | None = None

    def start(self, setup: WorkerSetup, deliver: Callable[[BatchResult], None]) -> None:
        """Keep both."""
        self.setup, self._deliver = setup, deliver

    def submit(self, batch: Batch) -> None:
        """Keep the batch."""
        self.waiting.append(batch)

    def finish(self) -> BatchResult:
        """Answer the batch that waits longest; hand it to `deliver`, if started, and return it."""
        result = self._answer(self.waiting.pop(0))
        if self._deliver is not None:
            self._deliver(result)
        return result

    def stop(self, deadline_s: float) -> None:
        """Note that it was stopped."""
        self.is_stopped = True


class BrightnessOptions(Options):
    """Options of the `brightness` runtime."""

    batch_s: float = Field(0.0, ge=0, description="Seconds that a batch takes at least.")


class BrightnessRuntime:
    """Sorts images by mean brightness into as many equal bands as the bundle has classes."""

    name = "brightness"

    def __init__(self, options: BrightnessOptions) -> None:
        self._options = options

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Read the classes from the manifest; the model file is not looked into."""
        import numpy as np

        manifest = read_manifest(bundle)
        count = len(manifest.classes)

        def score(images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
            time.sleep(self._options.batch_s)
            bands = (images.mean(axis=(1, 2, 3)) * count / 256).astype(int)
            # Nothing is ever new to it.
            sure = np.zeros((len(images), count + manifest.has_novelty), np.float32)
            sure[:, :count] = 0.1 / max(1, count - 1)
            sure[np.arange(len(images)), bands] = 0.9
            return sure

        return score


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `brightness`."""
    yield Factory("brightness", BrightnessRuntime, BrightnessOptions, "for tests: no model at all")


def stub_bundle(
    folder: Path, name: str = "stub", classes: Sequence[str] = CLASSES, size: int = 16
) -> Path:
    """Write a bundle without a model, for the `brightness` runtime, and return it."""
    bundle = folder / name
    bundle.mkdir(parents=True)
    data = b"no model"
    stored = StoredFile(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    manifest = _manifest(name, classes, size).model_copy(update={"files": {MODEL_FILE: stored}})
    (bundle / MODEL_FILE).write_bytes(data)
    (bundle / MANIFEST_FILE).write_text(manifest.model_dump_json(), "utf-8")
    return bundle


def tiny_bundle(
    folder: Path, name: str = "tiny", classes: Sequence[str] = CLASSES, size: int = 8
) -> Path:
    """Write a bundle with a real Keras model of random weights, and return it."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((size, size, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(scaled))
    scores = keras.layers.Dense(len(classes), activation="softmax")(features)
    return write_bundle(keras.Model(image, scores), _manifest(name, classes, size), folder)


def _manifest(name: str, classes: Sequence[str], size: int) -> Manifest:
    return Manifest(
        name=name,
        created_at="2026-05-01T12:00:00.000Z",
        classes=tuple(classes),
        geometry=Geometry(size, size),
        scaling=Scaling.UNIT,
        backbone=BackbonePart(name="stub", weights="none"),
        head=Part(name="stub"),
        reading="probabilities",
    )
