"""What a training strategy works with, handed over so that it looks nothing up for itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from daemon.clock import Clock
from daemon.contracts import DecodeLimits, Retrainer
from daemon.errors import OverBudget
from daemon.training.challenger import HeadPart, Recipe
from daemon.training.collect import Progress

HeadMaker = Callable[[str, Mapping[str, JsonValue]], HeadPart]
RetrainerMaker = Callable[[str, Mapping[str, JsonValue]], Retrainer]


@dataclass(frozen=True)
class Bench:
    """The parts and limits of one training run.

    `recipe` is what `model` in the configuration says; `heads` are those that `auto` may choose
    among, by name (the configured one alone, unless `model.head` is `auto`). `features` is the
    folder of the lasting cache, `scratch` one that is cleared away after the run. `deadline` is
    what `clock.elapsed()` reads when the budget is spent; a bench that `is_strict` refuses what
    would take longer. `head` and `retrainer` build others by name and options.
    """

    recipe: Recipe
    heads: tuple[str, ...]
    features: Path
    scratch: Path
    limits: DecodeLimits
    clock: Clock
    deadline: float
    progress: Progress
    head: HeadMaker
    retrainer: RetrainerMaker
    target_error: float = 0.05
    false_alarms: float = 0.05
    is_strict: bool = False

    def left_s(self) -> float:
        """Seconds of the budget that are left, 0 when it is spent."""
        return max(0.0, self.deadline - self.clock.elapsed())

    def need(self, seconds: float, what: str) -> None:
        """Raise `OverBudget` when a strict bench has fewer seconds left than `what` needs."""
        if self.is_strict and seconds > (left := self.left_s()):
            raise OverBudget(
                f"{what} would take {seconds / 60:.1f} minutes and {left / 60:.1f} are left:"
                " raise retrain.budget, or choose the strategy by name"
            )

    def with_head(self, name: str, options: Mapping[str, JsonValue]) -> "Bench":
        """Return a bench whose recipe has another head."""
        part = self.head(name, options)
        recipe = replace(self.recipe, head=part.head, head_options=part.options)
        return replace(self, recipe=recipe)
