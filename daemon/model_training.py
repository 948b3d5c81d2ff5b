"""`models train FOLDER`: class folders in, a registered model version out."""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from daemon.app import Wiring, register_installed
from daemon.artifacts import registering, write_bundle
from daemon.benches import a_bench, plan_record
from daemon.clock import utc_text
from daemon.config import Selection
from daemon.errors import TrainingError, UsageError
from daemon.label_sources import has_many_labels
from daemon.learning.schedule import Plan
from daemon.manifest import NAME
from daemon.quiet import hush_pillow, import_keras
from daemon.run_record import Reporting, insist, recorded, training_alone
from daemon.store.labels import Labels, SidedImage
from daemon.store.models import Models, Version
from daemon.store.runs import TrainingRuns
from daemon.training import (
    Bench,
    Challenger,
    Progress,
    Side,
    Trained,
    collect,
    make_manifest,
    train,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

SOURCE = "class folders"
STRATEGY = Selection("probe")


def train_folder(
    wiring: Wiring,
    engine: "Engine",
    folder: Path,
    name: str | None,
    progress: Progress,
    strategy: Selection = STRATEGY,
) -> tuple[Version, Trained]:
    """Train on class folders as `model` in the configuration says, and register the result.

    Records the images, their labels and sides, and the training run. Raises `UsageError` for a
    name that no model version can have, `TrainingError`, `WeightsError`, `BundleError`.
    """
    if name is not None:
        _check_name(name)
    hush_pillow()
    import_keras()
    retrainers, base = wiring.catalogue.retrainers, wiring.loaded.base
    retrainer = retrainers.build(strategy, base)
    options = retrainers.options(strategy, base).model_dump(mode="json")
    settings = wiring.loaded.settings.retrain
    reason = f"models train {folder.absolute()}"
    plan = Plan(strategy.name, reason, options, settings.budget * 60, settings.seed)
    runs = TrainingRuns(engine)
    with training_alone(wiring, engine), a_bench(wiring, plan, progress) as bench:
        name = name or wiring.loaded.settings.model.name or _name(bench, folder)
        record = plan_record(bench, plan) | {"folder": str(folder.absolute())}
        run_id = runs.begin(plan.strategy, record, _now(wiring))
        with recorded(wiring, engine, run_id):
            known = cast(Mapping[str, Side], Labels(engine).sides())
            work = replace(bench, progress=Reporting(engine, run_id, progress, wiring.clock))
            trained = train(collect(folder, work.progress), retrainer, plan, work, known)
            version = register_challenger(
                wiring, engine, trained.challenger, trained.metrics, name, run_id
            )
            insist(lambda: _record(wiring, engine, trained))
            now = _now(wiring)
            data = _data(trained) | {"as_of": now}
            insist(lambda: runs.finish(run_id, data, trained.metrics, now))
    return version, trained


def register_challenger(
    wiring: Wiring,
    engine: "Engine",
    challenger: Challenger,
    metrics: Mapping[str, Any],
    name: str,
    run_id: int,
) -> Version:
    """Write a challenger's bundle and register it as a model version of this training run."""
    manifest = make_manifest(challenger, metrics, name, _now(wiring))
    folder = wiring.loaded.settings.state_dir / "models"
    with registering(folder):
        bundle = write_bundle(challenger.model, manifest, folder)
        return insist(lambda: register_installed(Models(engine), bundle, _now(wiring), run_id))


def _record(wiring: Wiring, engine: "Engine", trained: Trained) -> None:
    images = [SidedImage(image.facts, image.label, image.side) for image in trained.images]
    many = has_many_labels(wiring.catalogue, wiring.loaded)
    Labels(engine).record(images, SOURCE, _now(wiring), many)


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"--name {name!r}: a model version is named with letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 100 of them"
        )
    if name.isdigit():
        raise UsageError(
            f"--name {name!r}: digits alone are the number of a model version; add a letter"
        )


def _name(bench: Bench, folder: Path) -> str:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "model"
    name = f"{slug}-{bench.recipe.backbone.name}"[:100]
    if not re.fullmatch(NAME, name):
        raise TrainingError(f"{name!r} is no name for a model version; give one with --name")
    return name


def _data(trained: Trained) -> dict[str, Any]:
    challenger = trained.challenger
    return {
        "images": len(trained.images),
        "held_out": sum(image.side == "holdout" for image in trained.images),
        "skipped": [[str(item.path), item.reason] for item in trained.skipped],
        "reasons": list(challenger.reasons),
        "repeat": asdict(challenger.plan) if challenger.plan else None,
    }


def _now(wiring: Wiring) -> str:
    return utc_text(wiring.clock.now())
