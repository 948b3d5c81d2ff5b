"""`recipe`: the plain method of many tutorials, for comparison.

Flatten, a dense layer of 256, softmax; stochastic gradient descent at 1e-4 with momentum, ten
epochs, batches of 32, the backbone frozen.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from daemon.contracts import Factory, Options, Retrainer
from daemon.hookspecs import hookimpl
from daemon.learning.schedule import History, Plan, propose

if TYPE_CHECKING:
    from daemon.learning.dataset import Dataset
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger

_HEAD: dict[str, JsonValue] = {"pooling": "flatten", "hidden": 256, "dropout": 0.0}


class RecipeOptions(Options):
    """Numbers of the plain method."""

    epochs: int = Field(10, ge=1, description="passes over the images")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="size of every step")
    batch_size: int = Field(32, ge=1, description="images for each step")
    folds: int | None = Field(
        None, ge=1, le=5, description="folds of five that are held out in turn; null: what fits"
    )


class PlainRecipe:
    """Nothing is chosen and nothing stops early; folds only measure."""

    name = "recipe"

    def __init__(self, options: RecipeOptions) -> None:
        self._options = options

    def propose(self, history: History) -> Plan | None:
        """Propose by the schedule that every strategy shares."""
        return propose(self.name, self._options.model_dump(), history)

    def train(self, plan: Plan, dataset: "Dataset", bench: "Bench") -> "Challenger":
        """Fit the plain head, whatever `model.head` says; raises `TrainingError`, `OverBudget`."""
        from daemon.learning.options import HeadTraining
        from daemon.training.finishing import Fit, finish
        from daemon.training.probing import Probe, choose_strength

        bench = bench.with_head("softmax", _HEAD)
        options = self._options
        training = HeadTraining(
            optimizer="sgd",
            learning_rate=options.learning_rate,
            weight_decay=0.0,
            batch_size=options.batch_size,
            epochs=options.epochs,
            least_steps=0,
            validation=0.0,
            seed=plan.seed,
        )
        fitter = Probe(bench, dataset.classes, dataset.on("train"), plan.seed)
        chosen = choose_strength(fitter, bench, (0.0,), options.folds, training)
        answer = fitter.fit(fitter.examples, 0.0, training)
        fit = Fit(fitter.model, fitter.classes, fitter.examples, answer)
        return finish(bench, plan, fit, chosen.found, {"folds": chosen.folds})


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer `recipe`."""
    return [
        Factory("recipe", PlainRecipe, RecipeOptions, "flatten, dense 256, SGD: for comparison")
    ]
