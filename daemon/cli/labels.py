"""`classifyd labels`: many labels at once, in and out."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows
from daemon.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from daemon.cli.labelling import Desk
    from daemon.labels.importing import Finding
    from daemon.labels.lines import Line

_FINDINGS = (
    Column("effect"),
    Column("path"),
    Column("label"),
    Column("before"),
    Column("reason"),
    Column("at"),
)
_LABELS = (
    Column("path"),
    Column("label"),
    Column("when", Kind.TIME),
    Column("who"),
    Column("source"),
)
_SHOWN = 50


@click.group()
def labels() -> None:
    """List, import and export labels; confirm that many were removed."""


@labels.command("list")
@config_option
@format_option
def list_labels(config: Path | None, form: str) -> None:
    """List every label there is now, by class."""
    from daemon.labels.exporting import labelled
    from daemon.store.database import reading

    engine, _ = open_database(config)
    with reading(engine) as connection:
        count = write_rows(labelled(connection), _LABELS, form)
    if count == 0:
        click.echo("classifyd: no image is labelled yet; begin with `classifyd label`", err=True)


@labels.command("import")
@click.argument("place", type=click.Path(exists=True, path_type=Path), metavar="FILE_OR_FOLDER")
@click.option("--yes", is_flag=True, help="Import without asking, as scripts must.")
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the images of a Label Studio export are; by default beside it.",
)
@config_option
@format_option
def import_labels(
    place: Path, yes: bool, dry_run: bool, root: Path | None, config: Path | None, form: str
) -> None:
    """Import labels from FILE_OR_FOLDER, and tell first what that would change.

    \b
    A .csv or .jsonl file   path,label[,when,who]; paths count from the file's folder
    A .json file            Label Studio's export (as JSON)
    A folder                its sub-folders are classes

    Importing the same again changes nothing. A file that is wrong anywhere is refused as a whole.
    An image that does not exist, or that the file gives two labels, is told and left out; exits 1
    when nothing else is left.

    \b
    Examples:
      classifyd labels import labels.csv --dry-run  what would change
      classifyd labels import sorted --yes          class folders, from a script
    """
    from daemon.cli.labelling import open_desk
    from daemon.labels.reading import read_labels

    lines = read_labels(place, root)
    with open_desk(config) as desk:
        findings = _examine(desk, lines)
        _tell(findings, form)
        if dry_run or not _is_wanted(findings, yes):
            return
        _commit(desk, findings, place)


def _examine(desk: "Desk", lines: "Sequence[Line]") -> "list[Finding]":
    from daemon.labels.importing import examine
    from daemon.progress import Progress, progress_bar

    with progress_bar("looking at images") as show:
        return examine(
            lines,
            desk.contents,
            desk.known,
            desk.many,
            lambda done: show(Progress(done, len(lines))),
        )


def _tell(findings: "Sequence[Finding]", form: str) -> None:
    """Write the findings: for people those that need a look, for programs all."""
    from daemon.labels.importing import Effect, counts

    plain = (Effect.NEW, Effect.UNCHANGED)
    rows = [finding.row() for finding in findings if form != "table" or finding.effect not in plain]
    write_rows(rows[:_SHOWN] if form == "table" else rows, _FINDINGS, form)
    if form == "table" and len(rows) > _SHOWN:
        click.echo(f"... and {len(rows) - _SHOWN} more; `--format csv` lists all", err=True)
    found = counts(findings)
    click.echo(", ".join(f"{found[effect]} {effect}" for effect in Effect), err=True)


def _is_wanted(findings: "Sequence[Finding]", yes: bool) -> bool:
    """Ask whether to import; False when there is nothing to write. Exits 1 for no usable label."""
    from daemon.labels.importing import Effect, counts

    found = counts(findings)
    if not found[Effect.NEW] + found[Effect.CHANGED]:
        if not found[Effect.UNCHANGED]:
            sys.exit(EXIT_FAILED)
        click.echo("nothing to import", err=True)
        return False
    if not yes and not sys.stdin.isatty():
        raise UsageError("nothing was imported, as nobody can be asked: add --yes, or --dry-run")
    return yes or click.confirm("Import these?", err=True)


def _commit(desk: "Desk", findings: "Iterable[Finding]", place: Path) -> None:
    from daemon.cli.labelling import user
    from daemon.clock import utc_text

    source = f"import {place.name or place.absolute().name}"
    count = desk.importer.commit(findings, source, user(), utc_text(time.time()))
    click.echo(f"{count} labels imported", err=True)


@labels.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(("csv", "jsonl", "folders")),
    default="csv",
    show_default=True,
    help="A labels file, or class folders with the images.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="The file, or the new folder; a file goes to standard output by default.",
)
@click.option("--copy", is_flag=True, help="Copy images into folders, instead of hard links.")
@config_option
def export_labels(form: str, output: Path | None, copy: bool, config: Path | None) -> None:
    """Write all labels to a file that `labels import` takes, or images into class folders.

    \b
    Examples:
      classifyd labels export -o labels.csv               what `labels import` takes
      classifyd labels export --format folders -o sorted  images by class
    """
    from daemon.labels.exporting import labelled, writable, write_folders
    from daemon.progress import Progress, progress_bar
    from daemon.store.database import reading

    if form == "folders" and output is None:
        raise UsageError("name the new folder: --output FOLDER")
    engine, _ = open_database(config)
    with reading(engine) as connection:
        rows: list[dict[str, Any]] = list(labelled(connection))
    if form == "folders" and output is not None:
        with progress_bar("writing images") as show:
            told = _told(rows, lambda done: show(Progress(done, len(rows))))
            count = write_folders(told, output, copy)
    else:
        count = write_rows(writable(rows), _LABELS, form, output)
    click.echo(f"{count} labels exported", err=True)
    if left := len(rows) - count:
        click.echo(f"{left} left out: no file has their image any more, or it changed", err=True)


def _told(
    rows: "Iterable[dict[str, Any]]", tell: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, 1):
        yield row
        tell(done)


@labels.command("confirm-removals")
@config_option
def confirm_removals(config: Path | None) -> None:
    """Let labels go whose files were removed from the labels folder, however many.

    More than a tenth of all labels is never taken back at once without this command;
    `classifyd status` tells when some wait for it.
    """
    from daemon.cli.labelling import open_desk

    with open_desk(config) as desk:
        count = sum(
            labelling.look(whole=True, confirmed=True)
            for labelling in desk.wiring.labellings(desk.engine)
        )
    click.echo(f"{count} labels changed" if count else "no removal waits for confirmation")
