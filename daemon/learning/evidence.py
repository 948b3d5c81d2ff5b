"""What a gate sees, what it says, and how the words of several become one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daemon.contracts import Gate
    from daemon.learning.scorecard import Card


@dataclass(frozen=True)
class Evidence:
    """One model version's answers on the holdout.

    `card` covers every member whose file could be read. `settled` are those (SHA-256) that were
    members at the last deployment that the gate allowed, with the labels they had then; a
    rollback or an activation by hand does not move it. The others were added since.
    """

    card: "Card"
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the challenger may go live, why in sentences, and the numbers behind them.

    `figures` holds JSON values.
    """

    allowed: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what `training_run.verdict` keeps."""
        return {
            "allowed": self.allowed,
            "reasons": list(self.reasons),
            "figures": dict(self.figures),
        }


def judge_all(
    gates: Mapping[str, "Callable[[], Gate]"], challenger: Evidence, champion: Evidence | None
) -> GateVerdict:
    """Build and ask every gate: all must agree, and one that raises says no.

    `gates` maps what the gate is called to how it is built. Without gates everything is allowed,
    which somebody asked for with `gate: []`.
    """
    told = {name: _asked(build, challenger, champion) for name, build in gates.items()}
    prefix = len(told) > 1
    return GateVerdict(
        all(verdict.allowed for verdict in told.values()),
        tuple(
            f"{name}: {reason}" if prefix else reason
            for name, verdict in told.items()
            for reason in verdict.reasons
        )
        or ("No gate is configured.",),
        {name: dict(verdict.figures) for name, verdict in told.items()},
    )


def _asked(
    build: "Callable[[], Gate]", challenger: Evidence, champion: Evidence | None
) -> GateVerdict:
    try:
        verdict: object = build().judge(challenger, champion)
    except Exception as error:  # whatever is wrong with a gate, the champion stays
        return GateVerdict(False, (f"The gate broke: {type(error).__name__}: {error}",))
    if isinstance(verdict, GateVerdict):
        return verdict
    return GateVerdict(False, (f"The gate broke: it answered {verdict!r}, which is no verdict.",))
