"""Backbones compared on the user's own labelled images: how right, how fast, how large."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daemon.app import Wiring
from daemon.artifacts import write_bundle
from daemon.at_hand import candidates, check_at_hand
from daemon.benches import a_bench
from daemon.clock import utc_text
from daemon.config import ModelSettings, Selection
from daemon.errors import ClassifydError, TrainingError
from daemon.gathering import gather
from daemon.learning.advice import Trial
from daemon.learning.curve import nested
from daemon.learning.dataset import Dataset
from daemon.learning.schedule import Plan
from daemon.model_comparison import RUNTIME
from daemon.quiet import hush_pillow, import_keras
from daemon.run_record import training_alone
from daemon.scores import read_scores
from daemon.text import one_line
from daemon.training import Bench, Challenger, Progress, make_manifest

if TYPE_CHECKING:
    from sqlalchemy import Engine

BATCH = 32
"""Images in the batches whose speed is measured."""
_STRATEGY = "probe"
_MOST_IMAGES = 2000
"""Enough for a standard error of one point; more would only take longer."""
_MEASURED_S = 2.0
_LEAST_BATCHES = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate: how it is configured, its image size (height, width in pixels), and the
    trial or the reason why there is none."""

    model: ModelSettings
    title: str
    size: tuple[int, int] | None = None
    trial: Trial | None = None
    log_loss: float | None = None
    failure: str | None = None


def compare_backbones(
    wiring: Wiring, engine: "Engine", wanted: Sequence[Selection], progress: Progress
) -> list[Row]:
    """Measure the backbones `wanted`, or all that are at hand, one after the other.

    Each gets the configured head by the strategy `probe`, on the training side alone: which
    backbone is chosen must not depend on the holdout, by which the gate judges. A backbone that
    fails has the reason in its row. Raises `TrainingError` where too little is labelled,
    `PluginError` for a backbone that there is not, `BusyError` while a training run goes on.
    """
    models = candidates(wiring, wanted)
    hush_pillow()
    import_keras()
    with training_alone(wiring, engine):
        settings = wiring.loaded.settings.retrain
        now = utc_text(wiring.clock.now())
        gathered = gather(engine, now, settings.min_per_class, progress)
        dataset = _part(gathered.dataset, settings.seed)
        return [_row(wiring, model, dataset, progress) for model in models]


def _part(dataset: Dataset, seed: int) -> Dataset:
    """Return the training side, or an even part of it where it is large."""
    learned = dataset.on("train")
    if len(learned) > _MOST_IMAGES:
        (learned,) = nested(learned, seed, (_MOST_IMAGES / len(learned),))
    return Dataset(dataset.classes, tuple(learned))


def _row(wiring: Wiring, model: ModelSettings, dataset: Dataset, progress: Progress) -> Row:
    import keras

    row = Row(model, one_line(model.backbone.written()))
    try:
        check_at_hand(wiring, model)
        return _measured(wiring, row, dataset, progress)
    except ClassifydError as error:
        return replace(row, failure=str(error))
    except Exception as error:  # whatever one backbone does, the others are measured
        return replace(row, failure=f"{type(error).__name__}: {error}")
    finally:
        keras.backend.clear_session()


def _measured(wiring: Wiring, row: Row, dataset: Dataset, progress: Progress) -> Row:
    def show(stage: str, done: int, total: int) -> None:
        progress(f"{row.title}: {stage}", done, total)

    settings = wiring.loaded.settings.retrain
    plan = Plan(_STRATEGY, "advise", {}, settings.budget * 60, settings.seed)
    with a_bench(wiring, plan, show, row.model) as bench:
        challenger = bench.retrainer(_STRATEGY, {}).train(plan, dataset, bench)
        right = _right(challenger)
        bundle = _write(challenger, bench)
        show("speed", 0, 1)
        speed = _images_per_s(wiring, bundle, bench)
        show("speed", 1, 1)
        megabytes = sum(path.stat().st_size for path in bundle.iterdir()) / 1e6
    geometry, loss = bench.recipe.geometry, challenger.metrics.get("out_of_fold_log_loss")
    return replace(
        row,
        size=(geometry.height, geometry.width),
        trial=Trial(row.title, right, speed, megabytes),
        log_loss=loss if isinstance(loss, float) else None,
    )


def _right(challenger: Challenger) -> Mapping[str, bool]:
    """Tell for each image (SHA-256) whether a fit that had not seen it recognised it."""
    found = challenger.out_of_fold
    if found is None:
        raise TrainingError("no class has two images to judge by: label more")
    scores = read_scores(challenger.recipe.head.reading, found.scores, challenger.temperature)
    right = scores.argmax(axis=1) == found.truth
    return dict(zip(found.sha256s, map(bool, right), strict=True))


def _write(challenger: Challenger, bench: Bench) -> Path:
    manifest = make_manifest(challenger, {}, "advise", utc_text(bench.clock.now()))
    return write_bundle(challenger.model, manifest, bench.scratch / "bundles")


def _images_per_s(wiring: Wiring, bundle: Path, bench: Bench) -> float:
    """Return the speed of the quickest of some batches: others may be at work here, too."""
    table = wiring.catalogue.runtimes
    run: Any = table.build(Selection(RUNTIME), wiring.loaded.base).load(bundle, BATCH)
    geometry, clock = bench.recipe.geometry, bench.clock
    shape = (BATCH, geometry.height, geometry.width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    took: list[float] = []
    while len(took) < _LEAST_BATCHES or sum(took) < _MEASURED_S:
        began = clock.elapsed()
        run(images)
        took.append(clock.elapsed() - began)
    return BATCH / min(took)
