"""`models train FOLDER`: class folders in, a registered model version out."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from daemon.app import Wiring, decode_limits, register_installed
from daemon.artifacts import write_bundle
from daemon.clock import utc_text
from daemon.errors import TrainingError, UsageError
from daemon.manifest import NAME
from daemon.preprocessing import Geometry
from daemon.quiet import hush_pillow, import_keras
from daemon.store.labels import LabelledImage, Labels, TrainingRuns
from daemon.store.models import Models, Version
from daemon.training import HeadTraining, Progress, Recipe, Side, Trained, collect, train
from daemon.training import make_manifest as describe

if TYPE_CHECKING:
    from sqlalchemy import Engine

STRATEGY = "class folders"


def train_folder(
    wiring: Wiring, engine: "Engine", folder: Path, name: str | None, progress: Progress
) -> tuple[Version, Trained]:
    """Train on class folders as `model` in the configuration says, and register the result.

    Records the images, their labels and sides, and the training run. Raises `UsageError` for a
    name that no model version can have, `TrainingError`, `WeightsError`, `BundleError`.
    """
    if name is not None:
        _check_name(name)
    hush_pillow()
    import_keras()
    recipe, options = _recipe(wiring), HeadTraining()
    name = name or _name(recipe, folder)
    runs = TrainingRuns(engine)
    run_id = runs.begin(STRATEGY, _plan(recipe, folder, options), _now(wiring))
    try:
        trained = _train(wiring, engine, recipe, options, folder, progress)
        version = _register(wiring, engine, recipe, trained, name, run_id)
    except BaseException as error:
        runs.fail(run_id, f"{type(error).__name__}: {error}", _now(wiring))
        raise
    _record(wiring, engine, trained)
    runs.finish(run_id, _data(trained), trained.metrics, _now(wiring))
    return version, trained


def _recipe(wiring: Wiring) -> Recipe:
    model, base = wiring.loaded.settings.model, wiring.loaded.base
    backbones, heads = wiring.catalogue.backbones, wiring.catalogue.heads
    backbone = backbones.build(model.backbone, base)
    height, width = model.image_size or (backbone.default_size, backbone.default_size)
    return Recipe(
        backbone,
        heads.build(model.head, base),
        Geometry(height, width, model.fit),
        model.weights,
        backbones.options(model.backbone, base).model_dump(mode="json"),
        heads.options(model.head, base).model_dump(mode="json"),
    )


def _train(
    wiring: Wiring,
    engine: "Engine",
    recipe: Recipe,
    options: HeadTraining,
    folder: Path,
    progress: Progress,
) -> Trained:
    known = cast(Mapping[str, Side], Labels(engine).sides())
    limits = decode_limits(wiring.loaded.settings)
    scratch = Path(tempfile.mkdtemp(prefix="training-", dir=wiring.loaded.settings.state_dir))
    try:
        return train(collect(folder, progress), recipe, options, limits, scratch, progress, known)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _register(
    wiring: Wiring, engine: "Engine", recipe: Recipe, trained: Trained, name: str, run_id: int
) -> Version:
    manifest = describe(recipe, trained, name, _now(wiring))
    bundle = write_bundle(trained.model, manifest, wiring.loaded.settings.state_dir / "models")
    return register_installed(Models(engine), bundle, _now(wiring), run_id)


def _record(wiring: Wiring, engine: "Engine", trained: Trained) -> None:
    images = [LabelledImage(image.facts, image.label, image.side) for image in trained.images]
    Labels(engine).record(images, STRATEGY, _now(wiring))


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


def _name(recipe: Recipe, folder: Path) -> str:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "model"
    name = f"{slug}-{recipe.backbone.name}"[:100]
    if not re.fullmatch(NAME, name):
        raise TrainingError(f"{name!r} is no name for a model version; give one with --name")
    return name


def _plan(recipe: Recipe, folder: Path, options: HeadTraining) -> dict[str, Any]:
    return {
        "folder": str(folder.absolute()),
        "backbone": {"name": recipe.backbone.name, **recipe.backbone_options},
        "weights": recipe.weights,
        "head": {"name": recipe.head.name, **recipe.head_options},
        "image_size": [recipe.geometry.height, recipe.geometry.width],
        "fit": recipe.geometry.fit,
        "training": options.model_dump(mode="json"),
    }


def _data(trained: Trained) -> dict[str, Any]:
    return {
        "images": len(trained.images),
        "held_out": sum(image.side == "holdout" for image in trained.images),
        "skipped": [[str(item.path), item.reason] for item in trained.skipped],
    }


def _now(wiring: Wiring) -> str:
    return utc_text(wiring.clock.now())
