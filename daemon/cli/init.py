"""`classifyd init`: a folder to begin in."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.paths import source_folders
from daemon.errors import UsageError, way_out

if TYPE_CHECKING:
    from daemon.config import Loaded


@click.command()
@click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[FOLDER]"
)
def init(folder: Path) -> None:
    """Write a commented config.yaml into FOLDER, and make the folders that it names.

    FOLDER is the current one by default, and is made where it does not exist. What is there
    already stays as it is.

    \b
    Examples:
      classifyd init                    begin in the current folder
      classifyd init ~/photos           begin in another
    """
    from daemon.config import load
    from daemon.config.loading import DEFAULT_NAME

    config = folder / DEFAULT_NAME
    try:
        _write(config)
        click.echo(f"{config}: every key with its meaning and its default")
        for place, purpose in _places(load(config, {})):
            place.mkdir(parents=True, exist_ok=True)
            click.echo(f"{os.path.relpath(place)}/: {purpose}")
    except OSError as error:
        raise UsageError(
            f"{error.filename}: cannot be made ({error.strerror}); {way_out(error)}, "
            "or name another folder: classifyd init FOLDER"
        ) from error
    for line in _next_steps(folder):
        click.echo(line)


def _write(config: Path) -> None:
    from daemon.config.loading import DEFAULT_TEMPLATE

    config.parent.mkdir(parents=True, exist_ok=True)
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(DEFAULT_TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(
            f"{config}: is there already, and was left as it is; start with `classifyd run`, or "
            "name another folder: classifyd init FOLDER"
        ) from None


def _places(loaded: "Loaded") -> Iterator[tuple[Path, str]]:
    from daemon.label_sources import labels_folder

    labels = labels_folder(loaded)
    for source in source_folders(loaded):
        if source != labels:
            yield source, "images dropped here are classified"
    if labels is not None:
        yield labels, "an image put into labels/cat is labelled cat"


def _next_steps(folder: Path) -> Iterator[str]:
    yield "Next:"
    if folder.resolve() != Path.cwd():
        yield f"  cd {shlex.quote(str(folder))}"
    yield "  classifyd doctor         look for what would go wrong"
    yield "  classifyd run            start the daemon; drop images into inbox/"
    yield "  classifyd results        what was seen (in a second terminal)"
