"""A training run once more, from its record: same images, same sides, same choices, same seed."""

from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.app import Wiring
from daemon.config import Selection, Settings
from daemon.errors import UsageError
from daemon.learning.schedule import Plan
from daemon.preprocessing import Fit
from daemon.retraining import Retrained, retrain
from daemon.store.database import reading
from daemon.store.run_rows import Run, find_run
from daemon.training.collect import Progress

if TYPE_CHECKING:
    from sqlalchemy import Engine


def repeat(wiring: Wiring, engine: "Engine", run_id: int, progress: Progress) -> Retrained:
    """Train again as a run did, with the strategy, head and options that it settled on.

    The labels are those of its time. Raises `UsageError` where there is no such run, or it came
    to nothing that could be repeated.
    """
    with reading(engine) as connection:
        run = find_run(connection, run_id)
    if run is None or not run.data.get("repeat"):
        raise UsageError(
            f"training run {run_id} cannot be repeated: there is none of this number that came to"
            " a model; `classifyd runs` lists them"
        )
    settled = run.data["repeat"]
    plan = Plan(**{**settled, "reason": f"repeats training run {run_id}"})
    wiring.loaded = replace(wiring.loaded, settings=_settings(wiring.loaded.settings, run))
    return retrain(wiring, engine, plan, progress, repeats=run)


def _settings(settings: Settings, run: Run) -> Settings:
    """Return the settings with the `model` section that the run had."""
    plan = run.plan
    model = settings.model.model_copy(
        update={
            "backbone": Selection.parse(plan["backbone"]),
            "weights": plan["weights"],
            "head": Selection.parse(run.data.get("head", plan["head"])),
            "image_size": tuple(plan["image_size"]),
            "fit": Fit(plan["fit"]),
        }
    )
    return settings.model_copy(update={"model": model})
