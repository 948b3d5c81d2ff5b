"""`auto`: tries the other strategies on the same folds, and takes what came out clearly best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from daemon.contracts import Factory, Options, Retrainer
from daemon.errors import OverBudget, TrainingError
from daemon.hookspecs import hookimpl
from daemon.learning.schedule import History, Plan, propose

if TYPE_CHECKING:
    from daemon.learning.dataset import Dataset
    from daemon.training.bench import Bench
    from daemon.training.challenger import Challenger


class AutoOptions(Options):
    """What is tried."""

    strategies: tuple[str, ...] = Field(
        ("probe", "finetune", "recipe"),
        min_length=1,
        description="strategies that are tried while the budget lasts, the simplest first",
    )


class Auto:
    """The least calibrated log loss out of fold wins; what was tried first stays unless clearly
    worse."""

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
        best = _best(tried, told)
        return replace(best, reasons=(f"{_title(best)} was chosen by auto", *told))


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
    seconds = bench.clock.elapsed() - began
    told.append(f"{_title(challenger)}: {'; '.join(challenger.reasons)} ({seconds:.0f} s)")
    return [challenger]


def _head_of(tried: "list[Challenger]", bench: "Bench") -> tuple[str, ...]:
    return (_best(tried, []).recipe.head.name,) if tried else bench.heads[:1]


def _title(challenger: "Challenger") -> str:
    assert challenger.plan is not None
    settled = ", ".join(f"{name} {value:g}" for name, value in _numbers(challenger.plan.options))
    return f"{_name(challenger)} ({settled})"


def _name(challenger: "Challenger") -> str:
    assert challenger.plan is not None
    return f"{challenger.plan.strategy} with {challenger.recipe.head.name}"


def _numbers(options: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    return ((name, options[name]) for name in ("strength", "folds") if name in options)


def _best(tried: "Sequence[Challenger]", told: list[str]) -> "Challenger":
    """Return the winner of a tournament; `told` hears how close it was."""
    best, *others = tried
    for other in others:
        best = _better(best, other, told)
    return best


def _better(best: "Challenger", other: "Challenger", told: list[str]) -> "Challenger":
    """Return `other` where its calibrated log loss is clearly less on the images that both were
    judged by.

    Clearly is by more than one standard error, the rule of Breiman et al. ("Classification and
    Regression Trees", 1984) for keeping what is simpler: a few dozen images tell little, and there
    the strategy that changes less is the safer one. Two are compared at a time, so that one that
    the budget gave few folds takes no images away from the others' comparison. One that could not
    be measured loses.
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
    return other if found.mean < -found.error else best


@hookimpl
def register_retrainers() -> Iterable[Factory[Retrainer]]:
    """Offer `auto`."""
    return [
        Factory("auto", Auto, AutoOptions, "the best of the others by cross-validation, in budget")
    ]
