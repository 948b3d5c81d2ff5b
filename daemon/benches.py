"""The bench of a training run, wired from the configuration."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from daemon.app import Wiring, decode_limits, require_room_to_train
from daemon.config import ModelSettings, Selection
from daemon.config.selection import AUTO
from daemon.contracts import Retrainer, SolvedHead
from daemon.learning.schedule import Plan
from daemon.preprocessing import Geometry
from daemon.training.bench import Bench
from daemon.training.challenger import HeadPart, Recipe
from daemon.training.collect import Progress
from daemon.training_leftovers import SCRATCH

_FIRST_HEAD = Selection("softmax")


@contextlib.contextmanager
def a_bench(
    wiring: Wiring, plan: Plan, progress: Progress, model: ModelSettings | None = None
) -> Iterator[Bench]:
    """Make what a strategy works with; its scratch folder is gone afterwards.

    The budget of the plan begins now. `model` takes the place of the configured one. Raises
    `NoRoomError` on a full disk.
    """
    settings = wiring.loaded.settings
    require_room_to_train(settings)
    model = model or settings.model
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=settings.state_dir))
    try:
        yield Bench(
            recipe=_recipe(wiring, model),
            heads=_heads(wiring, model.head),
            features=settings.state_dir / "features",
            scratch=scratch,
            limits=decode_limits(settings),
            clock=wiring.clock,
            deadline=wiring.clock.elapsed() + plan.budget_s,
            progress=progress,
            head=partial(_head, wiring),
            retrainer=partial(_retrainer, wiring),
            target_error=settings.unknown.target_error,
            false_alarms=settings.unknown.false_alarms,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def plan_record(bench: Bench, plan: Plan) -> dict[str, Any]:
    """Return what the training run's record says of the plan: enough to repeat the run."""
    recipe = bench.recipe
    return {
        **asdict(plan),
        "backbone": {"name": recipe.backbone.name, **recipe.backbone_options},
        "weights": recipe.weights,
        "head": {"name": recipe.head.name, **recipe.head_options},
        "heads": list(bench.heads),
        "image_size": [recipe.geometry.height, recipe.geometry.width],
        "fit": recipe.geometry.fit,
    }


def _recipe(wiring: Wiring, model: ModelSettings) -> Recipe:
    backbones, base = wiring.catalogue.backbones, wiring.loaded.base
    backbone = backbones.build(model.backbone, base)
    height, width = model.image_size or (backbone.default_size, backbone.default_size)
    choice = _FIRST_HEAD if model.head.name == AUTO else model.head
    part = _head(wiring, choice.name, choice.options)
    return Recipe(
        backbone,
        part.head,
        Geometry(height, width, model.fit),
        model.weights,
        backbones.options(model.backbone, base).model_dump(mode="json"),
        part.options,
    )


def _heads(wiring: Wiring, chosen: Selection) -> tuple[str, ...]:
    """Name the heads that may be chosen: with `auto`, those that are quickly fitted and give an
    image one label."""
    if chosen.name != AUTO:
        return (chosen.name,)
    built = (_head(wiring, name, {}).head for name in wiring.catalogue.heads.entries)
    return tuple(
        head.name
        for head in built
        if isinstance(head, SolvedHead) and head.reading != "independent"
    )


def _head(wiring: Wiring, name: str, options: Mapping[str, JsonValue]) -> HeadPart:
    table, base = wiring.catalogue.heads, wiring.loaded.base
    choice = Selection(name, options)
    return HeadPart(table.build(choice, base), table.options(choice, base).model_dump(mode="json"))


def _retrainer(wiring: Wiring, name: str, options: Mapping[str, JsonValue]) -> Retrainer:
    return wiring.catalogue.retrainers.build(Selection(name, options), wiring.loaded.base)
