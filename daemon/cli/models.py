"""`classifyd models`: model versions, and which of them is active."""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.carrying import export_model, import_model
from daemon.cli.common import config_option, load_config, open_database
from daemon.cli.compare import compare
from daemon.cli.compiling import compile_model, row_lines, row_values, version_named
from daemon.cli.output import (
    Column,
    Kind,
    document_option,
    format_option,
    write_document,
    write_lines,
    write_rows,
)
from daemon.cli.scorecard import scorecard_lines

if TYPE_CHECKING:
    from daemon.store.models import Models, Version

_COLUMNS = (
    Column("name"),
    Column("status"),
    Column("active", Kind.FLAG, in_table=False),
    Column("backbone"),
    Column("head"),
    Column("classes", Kind.NUMBER),
    Column("accuracy", Kind.CONFIDENCE),
    Column("created_at", Kind.TIME),
    Column("has_bundle", Kind.FLAG, in_table=False),
)


@click.group()
def models() -> None:
    """List, train, compare, activate, roll back and carry model versions."""


models.add_command(compare)
models.add_command(compile_model)
models.add_command(export_model)
models.add_command(import_model)


@models.command("list")
@config_option
@format_option
def list_models(config: Path | None, form: str) -> None:
    """List the model versions, newest first.

    A version whose bundle was removed (`classifyd prune`) is told by its predictions only: it
    cannot be activated again.
    """
    from daemon.store import queries
    from daemon.store.database import reading

    engine, loaded = open_database(config)
    bundles = loaded.settings.state_dir / "models"
    with reading(engine) as connection:
        rows = (
            row | {"has_bundle": (bundles / row["bundle"]).is_dir()}
            for row in queries.model_versions(connection)
        )
        write_rows(map(_told, rows) if form == "table" else rows, _COLUMNS, form)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return row if row["has_bundle"] else row | {"status": f"{row['status']}, no bundle"}


@models.command()
@click.argument("name", required=False)
@config_option
@document_option
def show(name: str | None, config: Path | None, form: str) -> None:
    """Show one model version (the active one by default): classes, metrics, when it was live.

    \b
    Example:
      classifyd models show cat-flap
    """
    from daemon.compiling import COMPILED, known_rows
    from daemon.store.models import Models

    engine, loaded = open_database(config)
    registry = Models(engine)
    version = version_named(registry, name)
    state = loaded.settings.state_dir
    rows = known_rows(state / "models" / version.bundle, state / COMPILED)
    told = _story(registry, version) | {"runtimes": row_values(rows)}
    if form == "json":
        write_document(told)
        return
    for key in ("name", "backbone", "head", "classes", "bundle", "created_at"):
        value = told[key]
        click.echo(f"{key:<12} {', '.join(value) if isinstance(value, list) else value}")
    write_lines(scorecard_lines(told["metrics"]))
    if rows:
        write_lines(["executed on this machine by", *row_lines(rows)])
    for deployed in told["deployments"]:
        click.echo(f"active from  {deployed['deployed_at']}: {deployed['reason']}")


def _story(registry: "Models", version: "Version") -> dict[str, Any]:
    history = [d for d in registry.deployments() if d.version_id == version.version_id]
    return {
        "name": version.name,
        "backbone": version.backbone,
        "head": version.head,
        "classes": list(version.classes),
        "bundle": version.bundle,
        "digest": version.digest,
        "created_at": version.created_at,
        "metrics": dict(version.metrics),
        "deployments": [
            {"deployed_at": d.deployed_at, "reason": d.reason, "who": d.who} for d in history
        ],
    }


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Name of the model version; by default folder and backbone.")
@click.option(
    "--strategy",
    default="probe",
    show_default=True,
    metavar="NAME",
    help="How it is trained; `classifyd plugins` lists the retrainers.",
)
@click.option("--activate", is_flag=True, help="Make it the active model version at once.")
@config_option
def train(
    folder: Path, name: str | None, strategy: str, activate: bool, config: Path | None
) -> None:
    """Train a model version on FOLDER, whose sub-folders are the classes.

    A pretrained backbone is loaded, the images are preprocessed as it expects, its layers stay
    frozen, a new head is trained on top, and the result is judged on a fifth of the images that
    it never saw. Backbone, weights and head are those of `model` in the configuration.

    \b
    Example:
      CLASSIFYD_MODEL__BACKBONE='{name: mobilenet_v2, alpha: 0.35}' \\
        classifyd models train photos/by-class --name birds
    """
    from daemon import app
    from daemon.config import Selection
    from daemon.progress import stages

    loaded = load_config(config)
    app.prepare_environment(loaded.settings)
    from daemon.model_training import train_folder

    wiring = app.Wiring(loaded)
    app.make_folders(loaded.settings)
    engine = app.upgraded_engine(loaded)
    with stages(_STAGES) as progress:
        version, trained = train_folder(wiring, engine, folder, name, progress, Selection(strategy))
    for item in trained.skipped:
        click.echo(f"left out: {item.path}: {item.reason}", err=True)
    metrics = trained.metrics
    click.echo(
        f"{version.name}: {metrics['holdout_accuracy']:.1%} right on {metrics['holdout_images']} "
        f"held-out images ({metrics['training_accuracy']:.1%} on the "
        f"{metrics['training_images']} it learned from)"
    )
    if activate:
        _deploy(engine, loaded, version, "activated after training")
    else:
        click.echo(f"Make it the active one with: classifyd models activate {version.name}")


_STAGES = {
    "read": "finding images",
    "features": "computing features",
    "fit": "training the head",
    "score": "judging on held-out images",
}


@models.command()
@click.argument("name")
@config_option
def activate(name: str, config: Path | None) -> None:
    """Make a model version the active one; a running daemon follows within seconds.

    \b
    Example:
      classifyd models activate cat-flap
    """
    from daemon.store.models import Models

    engine, loaded = open_database(config)
    _deploy(engine, loaded, Models(engine).find(name), "activated by hand")


@models.command()
@config_option
def rollback(config: Path | None) -> None:
    """Go back to the model version that was active before."""
    from daemon.store.models import Models

    engine, loaded = open_database(config)
    _deploy(engine, loaded, Models(engine).before_active(), "rollback")


def _deploy(engine: Any, loaded: Any, version: "Version", reason: str) -> None:
    from daemon.app import check_bundle
    from daemon.clock import SystemClock, utc_text
    from daemon.delivery import sink_names
    from daemon.store.models import Models

    check_bundle(version, loaded.settings)
    sinks = sink_names([choice.name for choice in loaded.settings.sinks])
    now = utc_text(SystemClock().now())
    Models(engine).deploy(version, reason, _who(), now, sinks)
    click.echo(
        f"{version.name} is active. `classifyd scan --stale` classifies earlier images again."
    )


def _who() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
