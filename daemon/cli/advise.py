"""`classifyd advise`: which backbone suits the labelled images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, load_config, open_database
from daemon.cli.output import (
    Column,
    Kind,
    document_option,
    write_document,
    write_lines,
    write_rows,
)
from daemon.errors import TrainingError, UsageError
from daemon.text import one_line

if TYPE_CHECKING:
    from daemon.advising import Row
    from daemon.config import ModelSettings, Selection
    from daemon.learning.advice import Advice

_COLUMNS = (
    Column("backbone"),
    Column("pixels"),
    Column("right"),
    Column("images_per_s", Kind.NUMBER),
    Column("bundle_mb", Kind.NUMBER),
    Column("note"),
)


@click.command()
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="NAME",
    help="Measure this one, a name or a mapping: '{name: mobilenet_v2, alpha: 0.35}'; give it"
    " several times for several.  [default: all whose weights are here]",
)
@config_option
@document_option
def advise(backbones: tuple[str, ...], config: Path | None, form: str) -> None:
    """Compare backbones on the labelled images, and recommend one.

    Each gets a new head, fitted and judged by cross-validation on the images that are not held
    out. Measured are those whose weights are in the box or in Keras' folder; nothing is
    downloaded. `right` is how many images were recognised, with its standard error; `images per s`
    is the whole classifier in batches of 32, without reading files; `bundle mb` its size on disk.

    What was computed of the images is kept, so that a training run need not do it again.

    \b
    Examples:
      classifyd advise                                             all backbones at hand
      classifyd advise --backbone compact --backbone mobilenet_v2  these two
    """
    from daemon import app
    from daemon.priority import yield_to_others
    from daemon.progress import stages

    wanted = [_selection(text) for text in backbones]
    app.prepare_environment(load_config(config).settings)
    yield_to_others()
    engine, loaded = open_database(config)
    app.make_folders(loaded.settings)
    wiring = app.Wiring(loaded)
    from daemon.advising import compare_backbones
    from daemon.learning.advice import recommend

    with stages({"find": "finding images"}) as progress:
        rows = compare_backbones(wiring, engine, wanted, progress)
    rows.sort(key=lambda row: -row.trial.accuracy if row.trial else 1)
    trials = [row.trial for row in rows if row.trial is not None]
    advice = recommend(trials) if trials else None
    if form == "json":
        write_document(_document(rows, advice))
    else:
        write_rows(map(_line, rows), _COLUMNS, "table")
        write_lines(_advice_lines(rows, advice, loaded.settings.model))
    if advice is None:
        raise TrainingError("no backbone could be measured; the rows above say why")


def _selection(text: str) -> "Selection":
    import yaml

    from daemon.config import Selection

    try:
        return Selection.parse(yaml.safe_load(text))
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"--backbone {text!r}: give a name, or a mapping such as"
            " '{name: mobilenet_v2, alpha: 0.35}'"
        ) from error


def _line(row: "Row") -> dict[str, Any]:
    trial = row.trial
    told = {"backbone": row.title, "pixels": _pixels(row), "note": row.failure}
    if trial is None:
        return told | dict.fromkeys(("right", "images_per_s", "bundle_mb"))
    return told | {
        "right": f"{trial.accuracy:.1%} ± {100 * trial.standard_error:.1f}",
        "images_per_s": f"{trial.images_per_s:.0f}",
        "bundle_mb": f"{trial.megabytes:.1f}",
    }


def _pixels(row: "Row") -> str | None:
    return None if row.size is None else f"{row.size[0]} x {row.size[1]}"


def _advice_lines(
    rows: "Sequence[Row]", advice: "Advice | None", configured: "ModelSettings"
) -> Iterator[str]:
    if advice is None:
        return
    yield ""
    yield from advice.reasons
    chosen = _chosen(rows, advice)
    if chosen == configured:
        yield f"Recommended: {advice.chosen.title}, which is what the configuration has."
        return
    yield f"Recommended: {advice.chosen.title}. In config.yaml:"
    yield "model:"
    yield from (f"  {key}: {one_line(value)}" for key, value in _settings(chosen).items())


def _chosen(rows: "Sequence[Row]", advice: "Advice") -> "ModelSettings":
    return next(row.model for row in rows if row.trial is advice.chosen)


def _settings(model: "ModelSettings") -> dict[str, Any]:
    size = model.image_size
    return {
        "backbone": model.backbone.written(),
        "weights": model.weights,
        "image_size": None if size is None else list(size),
    }


def _document(rows: "Sequence[Row]", advice: "Advice | None") -> dict[str, Any]:
    return {
        "backbones": [_entry(row) for row in rows],
        "recommended": None if advice is None else _settings(_chosen(rows, advice)),
        "reasons": [] if advice is None else list(advice.reasons),
    }


def _entry(row: "Row") -> dict[str, Any]:
    trial = row.trial
    return {
        **_settings(row.model),
        "pixels": row.size,
        "images": trial and len(trial.right),
        "accuracy": trial and round(trial.accuracy, 4),
        "standard_error": trial and round(trial.standard_error, 4),
        "log_loss": row.log_loss,
        "images_per_s": trial and round(trial.images_per_s, 1),
        "bundle_mb": trial and round(trial.megabytes, 2),
        "failure": row.failure,
    }
