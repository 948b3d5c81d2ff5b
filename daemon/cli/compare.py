"""`classifyd models compare`: two model versions side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, load_config, open_database
from daemon.cli.output import document_option, write_document

if TYPE_CHECKING:
    from daemon.learning.scorecard import Card
    from daemon.model_comparison import Comparison
    from daemon.store.models import Models, Version

_STAGES = {
    "find": "finding held-out images",
    "challenger": "scoring the first",
    "champion": "scoring the second",
}


@click.command()
@click.argument("name")
@click.argument("other", required=False)
@config_option
@document_option
def compare(name: str, other: str | None, config: Path | None, form: str) -> None:
    """Compare model version NAME with OTHER (the active one by default).

    Both are asked about the held-out images whose files are still there. Shows their scorecards
    side by side, which class each takes for which, and whether the gate would let NAME replace
    OTHER.

    \b
    Examples:
      classifyd models compare cat-flap          with the active one
      classifyd models compare cat-flap cifar10
    """
    from daemon import app
    from daemon.model_comparison import compare_versions
    from daemon.progress import stages
    from daemon.store.models import Models

    app.prepare_environment(load_config(config).settings)
    engine, loaded = open_database(config)
    models = Models(engine)
    versions = models.find(name), _other(models, other)
    with stages(_STAGES) as progress:
        found = compare_versions(app.Wiring(loaded), engine, *versions, progress)
    if form == "json":
        write_document(_document(found, versions))
        return
    for line in _lines(found, versions):
        click.echo(line)


def _other(models: "Models", name: str | None) -> "Version":
    from daemon.errors import UsageError

    version = models.find(name) if name else models.active()
    if version is None:
        raise UsageError("no model version is active yet; name the one to compare with")
    return version


def _document(found: "Comparison", versions: "Sequence[Version]") -> dict[str, Any]:
    from daemon.learning.scorecard import figures

    cards = found.challenger, found.champion
    return {
        "missing": found.missing,
        "models": [
            {"name": version.name, **figures(card), "confusion": _confusion(card)}
            for version, card in zip(versions, cards, strict=True)
        ],
        "verdict": found.verdict.as_json(),
    }


def _lines(found: "Comparison", versions: "Sequence[Version]") -> Iterator[str]:
    cards = found.challenger, found.champion
    yield from _table(["", *(version.name for version in versions)], _rows(cards, versions))
    if found.missing:
        yield f"left out: {found.missing} held-out images that cannot be read any more"
    for version, card in zip(versions, cards, strict=True):
        yield ""
        matrix = _confusion(card)
        columns = list(next(iter(matrix.values())))
        yield f"{version.name}: class in the row, taken for the class in the column"
        rows = [[label, *map(str, counts.values())] for label, counts in matrix.items()]
        yield from _table(["", *columns], rows)
    yield ""
    allowed = "may" if found.verdict.allowed else "may not"
    yield f"gate: {versions[0].name} {allowed} replace {versions[1].name}"
    yield from (f"  {reason}" for reason in found.verdict.reasons)


def _rows(cards: "Sequence[Card]", versions: "Sequence[Version]") -> Iterator[list[str]]:
    yield ["held-out images", *(str(len(card.sha256s)) for card in cards)]
    yield ["right", *(_share(card.accuracy) for card in cards)]
    yield ["calibration error", *(_share(card.calibration_error()) for card in cards)]
    yield from _shares([card.accuracy_by_class() for card in cards], "")
    by_folder = [card.accuracy_by_folder() for card in cards]
    if len(by_folder[0]) > 1:
        yield from _shares(by_folder, "in ")
    yield from _stored(versions)


def _stored(versions: "Sequence[Version]") -> Iterator[list[str]]:
    """Yield what only the training run could measure."""
    gaps = [version.metrics.get("gap") for version in versions]
    if any(gap is not None for gap in gaps):
        yield ["more right in training", *map(_share, gaps)]
    spoilt = [version.metrics.get("robustness") or {} for version in versions]
    yield from _shares(spoilt, "under ")


def _shares(found: Sequence[dict[str, float]], before: str) -> Iterator[list[str]]:
    for name in dict.fromkeys(name for shares in found for name in shares):
        yield [f"  {before}{name}", *(_share(shares.get(name)) for shares in found)]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _confusion(card: "Card") -> dict[str, dict[str, int]]:
    """Count true classes (outer) against what they were taken for (inner), zeros included."""
    counts = {label: dict.fromkeys(card.classes, 0) for label in sorted(set(card.labels))}
    for label, taken in zip(card.labels, card.taken, strict=True):
        counts[label][card.classes[taken]] += 1
    return counts


def _table(heading: Sequence[str], rows: "Iterator[list[str]] | list[list[str]]") -> Iterator[str]:
    lines = [list(heading), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()
