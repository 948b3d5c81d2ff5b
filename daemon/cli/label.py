"""`classifyd label`: say what one image shows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option
from daemon.text import printable

if TYPE_CHECKING:
    from daemon.cli.labelling import Desk


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("classes", nargs=-1, metavar="CLASS...")
@click.option("--retract", is_flag=True, help="Take back the label, or only that of CLASS.")
@config_option
def label(path: Path, classes: tuple[str, ...], retract: bool, config: Path | None) -> None:
    """Say that the image PATH shows CLASS; what was said of it before no longer counts.

    The image need not be in a watched folder, and the class need not be known. Several classes
    can be given, and stand beside earlier ones, where `model.head` is multi-label.

    \b
    Examples:
      classifyd label inbox/a.jpg cat
      classifyd label inbox/a.jpg --retract
    """
    from daemon.cli.labelling import open_desk

    with open_desk(config) as desk:
        names = _names(desk, classes, retract)
        if retract:
            _retract(desk, path, names)
        else:
            _give(desk, path, names)


def _names(desk: "Desk", classes: tuple[str, ...], retract: bool) -> list[str]:
    from daemon.errors import UsageError
    from daemon.labels.class_name import class_name

    try:
        names = [class_name(name) for name in classes]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not names and not retract:
        raise UsageError("name the class, or take the label back with --retract")
    if len(set(names)) > 1 and not desk.many:
        raise UsageError(
            f"an image has one class with head {desk.head}; give one, or set a multi-label head"
        )
    return names


def _give(desk: "Desk", path: Path, names: list[str]) -> None:
    from daemon.cli.labelling import user
    from daemon.clock import utc_text
    from daemon.errors import UsageError
    from daemon.labels.importing import Effect, examine
    from daemon.labels.lines import Line

    known = desk.known.classes()
    lines = [Line(str(path), str(path), (path,), name) for name in names]
    findings = examine(lines, desk.contents, desk.known, desk.many, lambda done: None)
    for finding in findings:
        if finding.effect is Effect.UNKNOWN:
            raise UsageError(f"{printable(str(path))}: {finding.reason}")
    # Said again it is confirmed, and `classifyd review` need not ask any more.
    desk.importer.commit(findings, "label", user(), utc_text(time.time()), again=True)
    for finding in findings:
        name = finding.line.label
        was = ", ".join(finding.before)
        how = {Effect.CHANGED: f" (was {was})", Effect.UNCHANGED: " already"}
        click.echo(f"{printable(str(path))}: {name}{how.get(finding.effect, '')}")
        if known and name not in known:
            click.echo(f"classifyd: {name} is a new class", err=True)


def _retract(desk: "Desk", path: Path, names: list[str]) -> None:
    from daemon.clock import utc_text
    from daemon.errors import UsageError

    image_id = _image_of(desk, path)
    now = utc_text(time.time())
    wanted: list[str | None] = [*names] or [None]
    count = sum(desk.known.retract(image_id, name, now) for name in wanted) if image_id else 0
    if not count:
        raise UsageError(f"{printable(str(path))}: has no such label to take back")
    click.echo(f"{printable(str(path))}: {count} taken back")


def _image_of(desk: "Desk", path: Path) -> int | None:
    """Return the image of a path, also of one that is no longer there."""
    from daemon.errors import ImageError

    try:
        return desk.contents.of(path).image_id
    except ImageError:
        known = desk.contents.known(path)
        return known.image_id if known else None
