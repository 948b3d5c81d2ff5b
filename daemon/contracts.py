"""What each kind of plugin must offer, and the values that cross to it.

All Protocols are structural: a plugin needs to inherit from nothing. Keras is imported inside
the methods, never with the module.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import JsonValue

from daemon.domain import Batch, BatchResult, Event, Sighting
from daemon.options import ConfigPath as ConfigPath
from daemon.options import Factory as Factory
from daemon.options import Needs as Needs
from daemon.options import Options as Options
from daemon.options import PeerName as PeerName
from daemon.options import plain_path as plain_path
from daemon.preprocessing import Scaling
from daemon.work import DecodeLimits as DecodeLimits
from daemon.work import WorkerSetup as WorkerSetup

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

    from daemon.learning.dataset import Dataset
    from daemon.learning.evidence import Evidence, GateVerdict
    from daemon.learning.schedule import History, Plan
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger


@runtime_checkable
class Backbone(Protocol):
    """A pretrained feature extractor.

    `default_size` (pixels, both sides) is the size its weights were made for, `minimum_size`
    the smallest it can take; `weights_choices` lists `bundled`, `imagenet`, `none` in order of
    preference (the first is the default); a path to a weights file is always accepted.
    """

    name: str
    default_size: int
    minimum_size: int
    scaling: Scaling
    weights_choices: Sequence[str]

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model: scaled `float32[N, H, W, 3]` to a map `[N, h, w, F]`.

        Raises `WeightsError` when `weights` is not at hand or does not fit.
        """


@runtime_checkable
class CachedBackbone(Backbone, Protocol):
    """A backbone whose `imagenet` weights are fetched once and kept on this machine.

    Offered beside `build`, so that `classifyd advise` measures what is here and fetches nothing.
    """

    def at_hand(self, height: int, width: int) -> Sequence[Mapping[str, Any]]:
        """Return the options with which such weights for images of this size are here."""


@runtime_checkable
class ParticularBackbone(Backbone, Protocol):
    """A backbone of which some options exclude some of its weights.

    Offered beside `build`, so that the start refuses what no training could load.
    """

    def check_weights(self, weights: str) -> None:
        """Raise `WeightsError` where its options have no such weights, one of its choices."""


class Head(Protocol):
    """A trainable classifier on top of features; owns loss, metric and how scores are read.

    `reading` is `probabilities` (scores sum to 1), `binary` (one sigmoid p read as [1-p, p]),
    `independent` (one sigmoid a class) or `margins` (any numbers): see `daemon.scores`.
    """

    name: str
    reading: str

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` when these classes do not fit this head."""

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return scores `[N, C]` (`[N, 1]` for `binary`) computed from a map `[N, h, w, F]`."""

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Turn class numbers `[N]` into what the loss compares the scores with.

        A head of independent scores is also given 0 and 1, `[N, C]`, where images have several
        classes.
        """

    def loss(self) -> "keras.losses.Loss":
        """Return the cross-entropy (or other loss) that training minimises."""

    def metric(self) -> "keras.metrics.Metric":
        """Return the accuracy that training shows."""


@runtime_checkable
class SolvedHead(Head, Protocol):
    """A head whose best weights can be computed, so that nothing is left to the learning rate.

    Offered beside `attach` by heads that are linear in the pooled features.
    """

    def strengths(self) -> Sequence[float]:
        """Return the strengths of regularisation worth trying, the weakest first.

        Empty where these options make a head that must be trained by descent.
        """

    def solve(
        self,
        layers: "keras.Model",
        rows: "NDArray[np.floating[Any]]",
        indices: "NDArray[np.int64]",
        weights: "NDArray[np.float32]",
        strength: float,
    ) -> None:
        """Set the weights of `layers`, the part of the head behind its pooling.

        `rows` are pooled features `[N, F]`, `indices` their class numbers `[N]` (for a head of
        independent scores also 0 and 1, `[N, C]`), `weights` how much each counts `[N]`;
        `strength` is one of `strengths()`.
        """


class Executable(Protocol):
    """A bundle made executable: `uint8[N, H, W, 3]` in, raw scores out.

    Scores are `float32[N, C]`, with one more column where the manifest says `has_novelty`.
    """

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Score up to `max_batch` images at once."""


class Runtime(Protocol):
    """What executes a classifier."""

    name: str

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Load the bundle directory and warm it up; raises `RuntimeLoadError`."""


@runtime_checkable
class CompiledRuntime(Runtime, Protocol):
    """A runtime that executes a form of the model which is made once for this machine.

    Offered beside `load`, which such a runtime refuses. Compiling needs TensorFlow, executing
    does not; the daemon itself asks `key` and `variants`, so these import neither.
    """

    def key(self) -> Mapping[str, JsonValue]:
        """Return what the compiled form depends on beside bundle and processor: versions, options.

        Raises `RuntimeLoadError` where what it needs is not installed.
        """

    def variants(self) -> Sequence[Mapping[str, JsonValue]]:
        """Return options that may be quicker on this processor, and give less exact answers.

        `runtime: auto` tries them beside the default ones; `agreement` decides over all.
        """

    def compile(self, graph: "ConcreteFunction", folder: Path) -> None:
        """Write the compiled form of a model into an empty folder.

        `graph` is the frozen model (`daemon.frozen`): `uint8[N, H, W, 3]` in, raw scores out.
        """

    def open(self, folder: Path, max_batch: int) -> Executable:
        """Make executable what `compile` wrote, warm; raises `RuntimeLoadError`."""


class Intake(Protocol):
    """Where a source hands in what it sees; every call may be made from any thread and blocks
    while the engine is behind."""

    def found(self, sightings: Sequence[Sighting]) -> None:
        """These paths exist and look like this now (news from events, or part of a walk)."""

    def missing(self, paths: Sequence[bytes]) -> None:
        """These paths were deleted or renamed away."""

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        """A full walk, in chunks: what the source had before and is not in it is missing.

        `complete` is asked after the last chunk; False (a folder could not be read, or the
        root went away meanwhile) means that nothing is judged missing.
        """

    def alarm(self, message: str | None) -> None:
        """Something is wrong with the whole source (its root is gone); None: it recovered."""

    def watching(self, how: str) -> None:
        """Tell how changes are noticed now (`inotify`, `polling`, …), for `status`."""

    def remember(self, note: str) -> None:
        """Keep a note of the source's own over restarts, in place of the last one."""

    def recall(self) -> str | None:
        """Return the note, None where there is none."""


class Source(Protocol):
    """Finds images. `title` tells sources apart in the database and in `results --source`."""

    title: str

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """Report until `stop` is set; runs in a thread of its own. May raise: it is restarted."""

    def scan(self, intake: Intake, below: Sequence[Path] = ()) -> None:
        """Report once what is there now, then return: all, or these files and folders only."""

    def holds(self, path: Path) -> bool:
        """Tell whether this absolute path is within what the source looks at."""


@runtime_checkable
class RootedSource(Source, Protocol):
    """A source of the files below one folder, which follows no symbolic link there.

    Offered beside `run`, so that no file is read through a link that took a folder's place. None
    where it has no such folder after all.
    """

    root: Path | None


class Sink(Protocol):
    """Gets events at least once, in order; the same event twice must do no harm.

    Each sink has a thread of its own, which makes all calls. `event_id` and `at` together tell
    an event from any other: a new database counts from 1 again.
    """

    def publish(self, event: Event) -> None:
        """Deliver one event; an exception means: not delivered, try again later.

        Raise `RejectedEventError` where it is this event that cannot be delivered: later ones
        then pass it, and it is given up after some tries. `SinkError` can say how long to wait.
        """

    def close(self) -> None:
        """Flush and release what is held; a later `publish` begins anew."""


@runtime_checkable
class FilingSink(Sink, Protocol):
    """A sink that puts images into folders below `folder`, which no source may watch."""

    folder: Path

    def spare(self, titles: Collection[str]) -> None:
        """Leave alone the files of these sources: label folders, which a person has sorted.

        May be called from another thread, whenever the configuration is reloaded.
        """


class Executor(Protocol):
    """Runs batches on workers, here or elsewhere."""

    workers: int
    runtime: str | None
    """What the workers execute the model with, once started."""
    trouble: str | None
    """What keeps workers from working now, for `status`; None when all is well."""

    def start(self, setup: WorkerSetup, deliver: Callable[[BatchResult], None]) -> None:
        """Start the workers and return when all are warm; raises `RuntimeLoadError`.

        `deliver` is called from the executor's own threads, exactly once for each batch.
        """

    def submit(self, batch: Batch) -> None:
        """Hand over a batch; never blocks. Two for each worker are outstanding at most, and the
        halves of a failed one."""

    def stop(self, deadline_s: float) -> None:
        """Let the batches in hand finish within the deadline, then end the workers.

        May be called while `start` or another `stop` runs: the nearer deadline counts.
        """


@dataclass(frozen=True, slots=True)
class FileNews:
    """What became of a file in a label source's own folder: it was classified, or removed."""

    path: bytes
    is_there: bool


@dataclass(frozen=True, slots=True)
class Word:
    """What a label source says of one file: a class, or None to take back what it said before.

    `at` is when it was said, UTC ISO-8601; None means now.
    """

    path: bytes
    label: str | None
    who: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What a label source has to say, and the cursor that it goes on from after that.

    The cursor is kept once every word was taken in. Until then the same words may be asked for
    again: a word that was taken in before changes nothing.
    """

    words: Sequence[Word] = ()
    cursor: str | None = None


class LabelSource(Protocol):
    """Says which class images belong to.

    `title` tells label sources apart, and is the source of their labels. `folder` is a source of
    the same title that is watched beside the configured ones, so that its files are classified
    too; None where the labels are of files that other sources find.
    """

    title: str
    folder: Source | None

    def since(self, cursor: str | None, news: Sequence[FileNews]) -> Words:
        """Say what is new: about the files of `news`, which are in its own folder, and whatever
        else came after `cursor` (None: from the beginning).

        Asked each second in a thread of its own; news is repeated until something is said of it.
        May raise: it is asked again later.
        """


class Retrainer(Protocol):
    """A strategy that makes a challenger out of labelled images."""

    name: str

    def propose(self, history: "History") -> "Plan | None":
        """Return what to do now, None for nothing; `daemon.learning.schedule.propose` does it
        by the schedule that every strategy shares."""

    def train(self, plan: "Plan", dataset: "Dataset", bench: "Bench") -> "Challenger":
        """Learn from the training side of `dataset`, never from its holdout.

        The challenger carries a plan that repeats it without asking the clock again. Raises
        `TrainingError`; `OverBudget` where `bench.is_strict` and the time left is too short.
        """


class Gate(Protocol):
    """Decides whether a challenger may go live; pure over what it is shown."""

    def judge(self, challenger: "Evidence", champion: "Evidence | None") -> "GateVerdict":
        """Compare two model versions on the same held-out images.

        `champion` is None before the first deployment. Every configured gate must allow the
        challenger; an exception means no.
        """
