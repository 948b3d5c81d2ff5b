"""The `holdout` gate: not worse beyond noise on images that neither model was trained on.

What decides is the holdout as it stood at the last deployment that the gate allowed, so that
labels which came since, right or wrong, cannot vote for a model that was trained beside them.
docs/explanation/gate.md has the reasons and the figures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from daemon.contracts import Factory, Gate, Options
from daemon.hookspecs import hookimpl
from daemon.learning.evidence import Evidence, GateVerdict
from daemon.learning.paired import Paired, paired

if TYPE_CHECKING:
    from daemon.learning.scorecard import Card


class HoldoutOptions(Options):
    """How much evidence the gate wants."""

    confidence: Annotated[
        float,
        Field(
            ge=0.5,
            lt=1,
            description="how surely a first model must beat always naming the commonest class",
        ),
    ] = 0.95
    noise: Annotated[
        float,
        Field(
            gt=0,
            le=0.5,
            description="a loss that chance alone brings less often than this counts as worse",
        ),
    ] = 0.1
    minimum: Annotated[
        int,
        Field(ge=1, description="a class with fewer settled members counts as new"),
    ] = 5
    readable: Annotated[
        float,
        Field(ge=0, le=1, description="share of the settled members that must be readable still"),
    ] = 0.5


class HoldoutGate:
    """Compares what challenger and champion get right, image by image."""

    name = "holdout"

    def __init__(self, options: HoldoutOptions) -> None:
        self._options = options

    def judge(self, challenger: Evidence, champion: Evidence | None) -> GateVerdict:
        """Allow a challenger that is not worse overall or in any class, beyond noise.

        Before the first deployment, and against a champion that was made for other classes, it
        must do better than always naming the commonest class. Raises `ValueError` when the two
        were not scored on the same images.
        """
        _check_same(challenger, champion)
        checks = list(self._checks(challenger, champion))
        added = len(set(challenger.card.sha256s) - challenger.settled)
        figures: dict[str, Any] = {
            "confidence": self._options.confidence,
            "noise": self._options.noise,
            "members": len(challenger.card.sha256s),
            "added_since": added,
            "checks": [check.as_json() for check in checks],
        }
        return GateVerdict(
            all(check.passed for check in checks),
            tuple(check.reason for check in checks if check.told),
            figures,
        )

    def _checks(self, challenger: Evidence, champion: Evidence | None) -> "Iterator[_Check]":
        card = challenger.card
        if not card.sha256s:
            yield _refusal("The holdout is empty: label more images, of at least two classes.")
            return
        if (lacking := self._lacking(challenger)) is not None:
            yield lacking
            return
        known = set(champion.card.classes) if champion is not None else set()
        unknown = set(card.labels) - known
        if unknown and not (set(card.sha256s) & challenger.settled and known & set(card.labels)):
            yield self._against_majority(card)
        if champion is not None and known & set(card.labels):
            yield from self._against_champion(challenger, champion.card)

    def _lacking(self, challenger: Evidence) -> "_Check | None":
        there = len(set(challenger.card.sha256s) & challenger.settled)
        members = len(challenger.settled)
        if there >= members * self._options.readable:
            return None
        return _refusal(
            f"Only {there} of the {members} held-out images that the last allowed model was"
            " judged by can still be read: put their files back, or lower the gate's `readable`."
        )

    def _against_majority(self, card: "Card") -> "_Check":
        import numpy as np

        counts = Counter(card.labels)
        common = min(counts, key=lambda label: (-counts[label], label))
        naming = np.array([label == common for label in card.labels])
        result = paired(card.right, naming)
        passed = result.p_better < 1 - self._options.confidence
        return _Check(
            "majority",
            result,
            result.p_better,
            passed,
            f"Right on {result.right} of {result.images} held-out images; always saying"
            f" {common!r} is right on {result.other_right} (p = {result.p_better:.2g}):"
            f" {'better' if passed else 'not surely better; label more images'}.",
        )

    def _against_champion(self, challenger: Evidence, champion: "Card") -> "Iterator[_Check]":
        card, known = challenger.card, set(champion.classes)
        members = _by_class(card)
        settled = {label: _settled(rows, challenger) for label, rows in members.items()}
        old = {label for label, rows in settled.items() if len(rows) >= self._options.minimum}
        deciding = [row for label in sorted(old) for row in settled[label]]
        everything = [row for label in members if label in known for row in members[label]]
        yield self._not_worse("overall", card, champion, deciding or everything)
        for label, rows in members.items():
            if label in old:
                yield self._not_worse(label, card, champion, settled[label])
            elif label in known:
                aside = ", a new class" if challenger.settled else ""
                yield self._not_worse(label, card, champion, rows, aside)
            else:
                yield _unheard_of(label, _compared(card, champion, rows))
        since = [row for label in old for row in set(members[label]) - set(settled[label])]
        if since:
            yield _added_since(_compared(card, champion, sorted(since)))

    def _not_worse(
        self, what: str, card: "Card", champion: "Card", rows: list[int], aside: str = ""
    ) -> "_Check":
        result = _compared(card, champion, rows)
        passed = result.p_worse >= self._options.noise
        is_worse = result.right < result.other_right
        judgement = "worse" if not passed else "not worse beyond noise" if is_worse else "not worse"
        return _Check(
            what,
            result,
            result.p_worse,
            passed,
            f"{_title(what)}{aside}: right on {result.right} of {result.images} held-out images,"
            f" the champion on {result.other_right} ({result.gained} gained, {result.lost}"
            f" lost, p = {result.p_worse:.2g}): {judgement}.",
            told=what == "overall" or is_worse or bool(aside),
        )


@dataclass(frozen=True, slots=True)
class _Check:
    """One comparison; `told` says whether its sentence is worth reading."""

    what: str
    result: Paired | None
    p: float | None
    passed: bool
    reason: str
    told: bool = True

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"what": self.what, "passed": self.passed}
        if self.result is not None:
            told |= {
                "images": self.result.images,
                "right": self.result.right,
                "other_right": self.result.other_right,
                "gained": self.result.gained,
                "lost": self.result.lost,
            }
        return told if self.p is None else told | {"p": round(self.p, 6)}


def _refusal(reason: str) -> _Check:
    return _Check("evidence", None, None, False, reason)


def _unheard_of(label: str, result: Paired) -> _Check:
    told = f"{_title(label)}, which the champion does not know: right on {result.right} of"
    return _Check(label, result, None, True, f"{told} {result.images} held-out images.")


def _added_since(result: Paired) -> _Check:
    return _Check(
        "added since",
        result,
        None,
        True,
        f"Added since the last allowed model, which decides nothing: right on {result.right} of"
        f" {result.images}, the champion on {result.other_right}.",
    )


def _check_same(challenger: Evidence, champion: Evidence | None) -> None:
    if champion is None:
        return
    own, other = challenger.card, champion.card
    if (own.sha256s, own.labels) != (other.sha256s, other.labels):
        raise ValueError("challenger and champion were not scored on the same labelled images")


def _by_class(card: "Card") -> dict[str, list[int]]:
    """Return the row numbers of each class, classes in order."""
    rows: dict[str, list[int]] = {label: [] for label in sorted(set(card.labels))}
    for row, label in enumerate(card.labels):
        rows[label].append(row)
    return rows


def _settled(rows: Iterable[int], evidence: Evidence) -> list[int]:
    return [row for row in rows if evidence.card.sha256s[row] in evidence.settled]


def _compared(card: "Card", champion: "Card", rows: list[int]) -> Paired:
    return paired(card.right[rows], champion.right[rows])


def _title(what: str) -> str:
    return "Overall" if what == "overall" else f"Class {what!r}"


@hookimpl
def register_gates() -> Iterable[Factory[Gate]]:
    """Offer `holdout`."""
    return [
        Factory(
            name=HoldoutGate.name,
            build=HoldoutGate,
            options=HoldoutOptions,
            summary="not worse, beyond noise, on held-out images",
        )
    ]
