"""`classifyd why`: the whole story of one file."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Kind, document_option, shown, write_document
from daemon.cli.paths import absolute, source_folders
from daemon.cli.times import local_text
from daemon.errors import EXIT_FAILED
from daemon.store import queries
from daemon.store.database import reading
from daemon.text import display_path, printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.config import Loaded

Row = dict[str, Any]

_MEANING = {
    "settling": "it may still be written; it is read once it has stopped changing",
    "queued": "it waits for a worker",
    "claimed": "a worker has it",
    "done": "it was classified",
    "retry": "reading it failed, and is tried again",
    "quarantined": "it could not be read; `classifyd retry PATH` tries again",
    "ignored": "it is not classified",
    "gone": "it vanished before it was read; it is queued again when it is back",
}


@click.command()
@click.argument("path", type=click.Path())
@config_option
@document_option
def why(path: str, config: Path | None, form: str) -> None:
    """Tell the story of one file: states, errors, predictions, labels.

    Exits 1 when the file was never seen.

    \b
    Example:
      classifyd why inbox/dog.jpg
    """
    engine, loaded = open_database(config)
    with reading(engine) as connection:
        found, versions = _find(connection, path)
    if form == "json":
        write_document({"path": display_path(found), "versions": versions})
    elif versions:
        click.echo(printable(display_path(found)))
        for version in versions:
            click.echo("\n".join(_version_lines(version)))
    if not versions:
        for line in _never_seen(found, loaded):
            click.echo(f"classifyd: {line}", err=True)
        sys.exit(EXIT_FAILED)


def _find(connection: "Connection", path: str) -> tuple[bytes, list[Row]]:
    """Return a path's story, also where it was given through a link to its folder."""
    given = absolute(path)
    versions = queries.story(connection, given)
    if not versions and (real := os.path.realpath(given)) != given:
        versions = queries.story(connection, real)
        return (real if versions else given), versions
    return given, versions


def _never_seen(path: bytes, loaded: "Loaded") -> Iterator[str]:
    yield f"{printable(display_path(path))}: the daemon has never seen this file"
    if not os.path.lexists(path):
        yield "and it does not exist; is it the right path?"
        return
    if Path(os.fsdecode(path)).is_dir():
        yield "it is a folder; name a file in it"
        return
    folders = source_folders(loaded)
    inside = [folder for folder in folders if Path(os.fsdecode(path)).is_relative_to(folder)]
    if inside:
        yield (
            f"it exists in the watched folder {inside[0]}: if no daemon is running "
            "(`classifyd status`), start one or run `classifyd scan`"
        )
    else:
        listed = ", ".join(map(str, folders)) or "none"
        yield f"it is in none of the watched folders ({listed}); see `sources` in the configuration"


def _version_lines(version: Row) -> Iterator[str]:
    title = "Now" if version["is_current"] else "An earlier version"
    yield f"\n{title}: {version['state']} since {local_text(version['state_at'])}"
    yield f"  {'meaning':<14}{_MEANING[version['state']]}"
    for name, value in _facts(version):
        yield f"  {name:<14}{value}"
    if version["image"] is not None:
        yield from _image_lines(version["image"])


def _facts(version: Row) -> Iterator[tuple[str, str]]:
    if version["reason"]:
        yield "reason", printable(version["reason"])
    if version["attempts"]:
        yield "attempts", str(version["attempts"])
    if version["next_try_at"]:
        yield "next try", local_text(version["next_try_at"])
    if version["claimed_by"]:
        yield "worker", printable(version["claimed_by"])
    yield "source", printable(version["source"])
    yield "found", local_text(version["found_at"])
    if version["classified_at"]:
        yield "classified", local_text(version["classified_at"])
    if version["removed_at"]:
        yield "deleted", local_text(version["removed_at"])
    yield "bytes", f"{version['size']:,}"


def _image_lines(image: Row) -> Iterator[str]:
    taken = shown(image["taken_at"], Kind.CAMERA_TIME)
    facts = f"{image['format']}, {image['width']} x {image['height']} pixels"
    yield f"  {'image':<14}{facts}{', taken ' + taken if taken else ''}"
    yield f"  {'SHA-256':<14}{image['sha256']}"
    for prediction in image["predictions"]:
        yield f"  {'prediction':<14}{_prediction_text(prediction)}"
    for label in image["labels"]:
        yield f"  {'label':<14}{_label_text(label)}"


def _prediction_text(prediction: Row) -> str:
    top = ", ".join(f"{printable(name)} {sure:.2f}" for name, sure in prediction["top_k"])
    unknown = " (unknown: fits no class well)" if prediction["is_unknown"] else ""
    result = "; this is what `results` shows" if prediction["is_shown"] else ""
    when = local_text(prediction["predicted_at"])
    return f"{top}{unknown}, by {printable(prediction['model_version'])} at {when}{result}"


def _label_text(label: Row) -> str:
    who = f" by {printable(label['who'])}" if label["who"] else ""
    retracted = f", retracted {local_text(label['retracted_at'])}" if label["retracted_at"] else ""
    when = local_text(label["labelled_at"])
    return f"{printable(label['label'])}, {when} from {printable(label['source'])}{who}{retracted}"
