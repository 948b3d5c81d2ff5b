"""`auto`: tries the other strategies on the same folds, and takes the likeliest to be best."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from daemon.contracts import Factory, Options, PeerName, Retrainer
from daemon.errors import OverBudget, TrainingError
from daemon.hookspecs import hookimpl
from daemon.learning.schedule import History, Plan, propose

if TYPE_CHECKING:
    from daemon.learning.dataset import Dataset
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger

_DOUBT = 2.0  # standard errors: 19 of 20 differences that are none stay below


class AutoOptions(Options):
    """What is tried."""

    strategies: tuple[PeerName, ...] = Field(
        ("probe", "finetune", "recipe"),
        min_length=1,
        description="strategies that are tried, in this order while the budget lasts",
    )
    favourite: PeerName = Field(
        "finetune", description="strategy that is taken unless another is clearly better"
    )
    favourite_from: int = Field(
        20,
        ge=0,
        description="images of the rarest class from which on it is; below, the first one",
    )

    @field_validator("strategies")
    @classmethod
    def _others(cls, strategies: tuple[str, ...]) -> tuple[str, ...]:
        if "auto" in strategies:
            raise ValueError("auto cannot try itself; name other retrainers")
        return strategies


class Auto:
    """What experience favours for so many images, unless the folds clearly speak for another."""

    name = "auto"

    def __init__(self, options: AutoOptions) -> None:
        self._options = options

    def propose(self, history: History) -> Plan | None:
        """Propose by the schedule that every strategy shares."""
        return propose(self.name, self._options.model_dump(mode="json"), history)

    def train(self, plan: Plan, dataset: "Dataset", bench: "Bench") -> "Challenger":
        """Train with each strategy that fits into the budget, and return the best challenger.

        The heads are compared by the first strategy; the others take the one that won there.
        What is tried first may exceed the budget, nothing after it. Raises `TrainingError` when
        none worked.
        """
        strict = replace(bench, is_strict=True)
        tried: list[Challenger] = []
        told: list[str] = []
        for number, strategy in enumerate(self._options.strategies):
            heads = bench.heads if number == 0 else _head_of(tried, bench)
            for head in heads:
                own = strict if tried else bench  # something must come of it
                work = own if len(bench.heads) == 1 else own.with_head(head, {})
                tried += _tried(strategy, head, plan, dataset, work, told)
        if not tried:
            raise TrainingError("no strategy could be trained: " + "; ".join(told))
        best = _best(self._favoured(dataset, tried), tried, _DOUBT, told)
        return replace(best, reasons=(f"{_title(best)} was chosen by auto", *told))

    def _favoured(self, dataset: "Dataset", tried: "Sequence[Challenger]") -> "Challenger":
        counts = Counter(example.label for example in dataset.on("train"))
        is_enough = min(counts.values()) >= self._options.favourite_from
        names = [each.plan.strategy for each in tried if each.plan is not None]
        favourite = self._options.favourite
        return tried[names.index(favourite)] if is_enough and favourite in names else tried[0]


def _tried(
    strategy: str,
    head: str,
    plan: Plan,
    dataset: "Dataset",
    bench: "Bench",
    told: list[str],
) -> "list[Challenger]":
    """Train with one strategy; what keeps it from working is told and stops nothing else."""
    began = bench.clock.elapsed()
    own = Plan(strategy, plan.reason, {}, plan.budget_s, plan.seed)
    try:
        bench.recipe.head.check(dataset.classes)
        challenger = bench.retrainer(strategy, {}).train(own, dataset, bench)
    except (OverBudget, TrainingError) as error:
        told.append(f"{strategy} with {head}: left out, {error}")
        return []
    except Exception as error:  # too little memory, say: what was tried before is worth keeping
        told.append(f"{strategy} with {head}: left out, {type(error).__name__}: {error}")
        return []
    seconds = bench.clock.elapsed() - began
    told.append(f"{_title(challenger)}: {'; '.join(challenger.reasons)} ({seconds:.0f} s)")
    return [challenger]


def _head_of(tried: "list[Challenger]", bench: "Bench") -> tuple[str, ...]:
    """Name the head of least loss: of heads there is no favourite."""
    return (_best(tried[0], tried, 0.0, []).recipe.head.name,) if tried else bench.heads[:1]


def _title(challenger: "Challenger") -> str:
    assert challenger.plan is not None
    settled = ", ".join(f"{name} {value:g}" for name, value in _numbers(challenger.plan.options))
    return f"{_name(challenger)} ({settled})"


def _name(challenger: "Challenger") -> str:
    assert challenger.plan is not None
    return f"{challenger.plan.strategy} with {challenger.recipe.head.name}"


def _numbers(options: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    return ((name, options[name]) for name in ("strength", "folds") if name in options)


def _best(
    favourite: "Challenger", tried: "Sequence[Challenger]", doubt: float, told: list[str]
) -> "Challenger":
    """Return the winner of a tournament; `told` hears how close it was."""
    best = favourite
    for other in tried:
        if other is not favourite:
            best = _better(best, other, doubt, told)
    return best


def _better(best: "Challenger", other: "Challenger", doubt: float, told: list[str]) -> "Challenger":
    """Return `other` where its calibrated log loss is less by more than `doubt` standard errors.

    It is of the images that both were judged by: two are compared at a time, so that one that the
    budget gave few folds takes no images away from the others' comparison. One that could not be
    measured loses.
    """
    from daemon.training.validation import gap

    ours, theirs = best.out_of_fold, other.out_of_fold
    if ours is None or theirs is None:
        return other if ours is None and theirs is not None else best
    found = gap(other.recipe.head.reading, theirs, best.recipe.head.reading, ours)
    if found is None:
        return best
    told.append(
        f"{_name(other)} less {_name(best)}: log loss {found.mean:+.3f}"
        f" (standard error {found.error:.3f}, {found.images} images)"
    )
    return other if found.mean < -doubt * found.error else best


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer `auto`."""
    return [
        Factory("auto", Auto, AutoOptions, "the best of the others by cross-validation, in budget")
    ]
