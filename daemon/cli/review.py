"""`classifyd review`: what is most worth a person's look next."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.config import Loaded
    from daemon.store.review import Viewer

COLUMNS = (
    Column("kind"),
    Column("why"),
    Column("path"),
    Column("label"),
    Column("prediction"),
    Column("confidence", Kind.CONFIDENCE),
    Column("reason"),
)
_KINDS = ("label", "check")
_MOST = 1000


@click.command()
@config_option
@click.option("--kind", type=click.Choice(_KINDS), help="Only what to label, or what to check.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST),
    default=20,
    show_default=True,
    metavar="N",
    help=f"At most N of each kind, {_MOST} at most.",
)
@format_option
def review(config: Path | None, kind: str | None, limit: int, form: str) -> None:
    """List the images most worth a label, and the labels most worth a check.

    \b
    kind   why
    label  uncertain      the active model version wavers between classes
           novel          it is unlike anything that it has learned from
    check  wrong label    by models that had not seen the image, in the last training run
           contradiction  images that look alike under different labels
           disagreement   the active model version takes it for another class
           ...            what else the last training run's audit found

    Of images that look alike one is listed, and what looks like a labelled one comes late. What
    was labelled by hand since, the same label again included, is not listed any more.

    \b
    Examples:
      classifyd review                  what to label next
      classifyd review --format csv     for a spreadsheet
    """
    from daemon.store import queries
    from daemon.store.database import reading

    engine, loaded = open_database(config)
    with reading(engine) as connection:
        active = queries.active_version(connection)
        rows = [
            row
            for each in _KINDS
            if kind in (None, each)
            for row in _LISTS[each](connection, active, loaded, limit)
        ]
        write_rows(rows, COLUMNS, form)
    click.echo(f"classifyd: {_advice(rows, active, kind)}", err=True)


def _to_label(
    connection: "Connection", active: dict[str, Any] | None, loaded: "Loaded", limit: int
) -> list[dict[str, Any]]:
    from daemon.reviewing import to_label

    if active is None:
        return []
    return to_label(connection, _viewer(active, loaded), limit)


def _to_check(
    connection: "Connection", active: dict[str, Any] | None, _loaded: "Loaded", limit: int
) -> list[dict[str, Any]]:
    from daemon.reviewing import to_check

    return to_check(connection, active["id"] if active else None, limit)


_LISTS = {"label": _to_label, "check": _to_check}


def _viewer(active: dict[str, Any], loaded: "Loaded") -> "Viewer":
    """Return how the active model version's predictions are to be read."""
    from daemon.artifacts import read_manifest
    from daemon.errors import BundleError
    from daemon.store.review import Viewer

    bundle = loaded.settings.state_dir / "models" / active["bundle"]
    try:
        manifest = read_manifest(bundle, verify=False)
    except BundleError:
        return Viewer(active["id"])  # only what serves needs the bundle, and says so
    own = manifest.unknown and manifest.unknown.threshold
    given = loaded.settings.unknown.threshold
    threshold = own if given is None else given
    return Viewer(active["id"], manifest.reading == "independent", threshold or 0.0)


def _advice(rows: list[dict[str, Any]], active: dict[str, Any] | None, kind: str | None) -> str:
    if rows:
        return "say what an image shows with `classifyd label PATH CLASS`; a right label, once more"
    if active is None:
        return "nothing to review: no image was classified yet"
    if kind == "check":
        return "no label is in doubt"
    return (
        f"nothing to review: {active['name']} has seen no image without a label;"
        " `classifyd scan --stale` shows it those that only others have seen"
    )
