"""`probe`: a head on cached features of the frozen backbone; seconds, once features are there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from daemon.contracts import Factory, Options, Retrainer
from daemon.hookspecs import hookimpl
from daemon.learning.schedule import History, Plan, propose

if TYPE_CHECKING:
    from daemon.learning.dataset import Dataset
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger


class ProbeOptions(Options):
    """How the head is fitted; what is null is chosen by cross-validation and recorded."""

    strength: float | None = Field(
        None, ge=0, description="regularisation; what it means is the head's business"
    )
    folds: int | None = Field(
        None, ge=1, le=5, description="folds of five that are held out in turn; null: what fits"
    )


class Probe:
    """The head alone learns, with the regularisation of the least cross-validated log loss."""

    name = "probe"

    def __init__(self, options: ProbeOptions) -> None:
        self._options = options

    def propose(self, history: History) -> Plan | None:
        """Propose by the schedule that every strategy shares."""
        return propose(self.name, self._options.model_dump(), history)

    def train(self, plan: Plan, dataset: "Dataset", bench: "Bench") -> "Challenger":
        """Fit the configured head; raises `TrainingError`, `OverBudget`."""
        from daemon.training.finishing import Fit, finish
        from daemon.training.probing import Probe as Fitter
        from daemon.training.probing import choose_strength

        fitter = Fitter(bench, dataset.classes, dataset.on("train"), plan.seed)
        given = self._options.strength
        strengths = fitter.strengths() if given is None else (given,)
        chosen = choose_strength(fitter, bench, strengths, self._options.folds)
        answer = fitter.fit(fitter.examples, chosen.strength)
        fit = Fit(fitter.model, fitter.classes, fitter.examples, answer)
        settled = {"strength": chosen.strength, "folds": chosen.folds}
        return finish(bench, plan, fit, chosen.found, settled)


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer `probe`."""
    return [Factory("probe", Probe, ProbeOptions, "a head on cached features, frozen backbone")]
