"""`finetune`: the head first, then the layers of the backbone at a low learning rate."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from daemon.contracts import Factory, Retrainer
from daemon.hookspecs import hookimpl
from daemon.learning.options import Tuning
from daemon.learning.schedule import History, Plan, propose

if TYPE_CHECKING:
    from daemon.learning.dataset import Dataset
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger
    from daemon.training.finetuning import FineTuner


_LEAST = 1.8  # fits: one on four folds of five, to measure, and one on everything


class FinetuneOptions(Tuning):
    """How layers are trained on; what is null is chosen and recorded."""

    strength: float | None = Field(
        None, ge=0, description="regularisation of the first head; null: by cross-validation"
    )
    folds: int | None = Field(
        None, ge=1, le=5, description="folds of five that are held out in turn; null: what fits"
    )


class Finetune:
    """All layers learn, on changed copies of the images, on a fixed schedule."""

    name = "finetune"

    def __init__(self, options: FinetuneOptions) -> None:
        self._options = options

    def propose(self, history: History) -> Plan | None:
        """Propose by the schedule that every strategy shares."""
        return propose(self.name, self._options.model_dump(), history)

    def train(self, plan: Plan, dataset: "Dataset", bench: "Bench") -> "Challenger":
        """Fit head, then backbone; raises `TrainingError`, `OverBudget`."""
        from daemon.training.finetuning import FineTuner
        from daemon.training.finishing import Fit, finish
        from daemon.training.probing import Probe, choose_strength
        from daemon.training.validation import cross_validate, fold_numbers

        options = self._options
        probe = Probe(bench, dataset.classes, dataset.on("train"), plan.seed)
        strength = options.strength
        if strength is None:
            strength = choose_strength(probe, bench, probe.strengths(), None).strength
        tuner = FineTuner(bench, probe, strength, options)
        folds = options.folds or _affordable(tuner, bench)
        numbers = fold_numbers(tuner.examples, plan.seed)
        found = cross_validate(tuner, tuner.examples, tuner.classes, numbers, folds, plan.seed)
        tuner.fit(tuner.examples)
        fit = Fit(tuner.model, tuner.classes, tuner.examples, tuner.blend())
        return finish(bench, plan, fit, found, {"strength": strength, "folds": folds})


def _affordable(tuner: "FineTuner", bench: "Bench") -> int:
    """How many folds fit into the budget beside the last fit."""
    from daemon.training.validation import FOLDS, affordable

    fit_s = tuner.seconds(len(tuner.examples), tuner.time_a_step())
    bench.need(_LEAST * fit_s, "fine-tuning")
    return affordable(fit_s, bench.left_s(), FOLDS)


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer `finetune`."""
    return [Factory("finetune", Finetune, FinetuneOptions, "head first, then the backbone too")]
