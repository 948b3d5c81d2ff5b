"""`classifyd failed` and `classifyd retry`: what could not be read, and another try."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows
from daemon.cli.paths import absolute
from daemon.clock import utc_text
from daemon.errors import EXIT_FAILED, UsageError
from daemon.store import queries
from daemon.store.database import reading, writing
from daemon.text import display_path, printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

COLUMNS = (
    Column("since", Kind.TIME),
    Column("state"),
    Column("attempts", Kind.NUMBER),
    Column("next_try_at", Kind.TIME),
    Column("path"),
    Column("reason"),
    Column("source", in_table=False),
)


@click.command()
@config_option
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="N",
    help="At most N rows, 0 for all.",
)
@format_option
def failed(config: Path | None, limit: int, form: str) -> None:
    """List the files that could not be read, and why; the latest first.

    `quarantined` files are out of tries, `retry` files are tried again at the next try.

    \b
    Examples:
      classifyd failed                  what to look at
      classifyd failed --format csv     for a spreadsheet
    """
    engine, _ = open_database(config)
    with reading(engine) as connection:
        count = write_rows(queries.failures(connection, limit), COLUMNS, form)
    if count == 0:
        click.echo("classifyd: no file has failed", err=True)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@click.option("--all", "everything", is_flag=True, help="All that have failed.")
@config_option
def retry(paths: tuple[str, ...], everything: bool, config: Path | None) -> None:
    """Queue failed files again, with all their tries.

    Exits 1 when one of the files has not failed.

    \b
    Examples:
      classifyd retry inbox/half.jpg    one file
      classifyd retry --all             after the cause was mended
    """
    if everything == bool(paths):
        raise UsageError("name the files to try again, or all with --all")
    engine, _ = open_database(config)
    now = utc_text(time.time())
    with writing(engine) as connection:
        if everything:
            count, refused = queries.requeue(connection, now), []
        else:
            wanted = [absolute(path) for path in paths]
            queued = [path for path in wanted if queries.requeue(connection, now, path)]
            count = len(queued)
            refused = [_refusal(connection, path) for path in wanted if path not in queued]
    for line in refused:
        click.echo(f"classifyd: {line}", err=True)
    click.echo(f"{count} {'file' if count == 1 else 'files'} queued again")
    if refused:
        sys.exit(EXIT_FAILED)


def _refusal(connection: "Connection", path: bytes) -> str:
    name = printable(display_path(path))
    row = queries.current(connection, path)
    if row is None:
        return f"{name}: the daemon has never seen this file; `classifyd why` says more"
    if row["removed_at"] is not None:
        return f"{name}: was deleted; it is read when it is there again"
    return f"{name}: has not failed, it is {row['state']}"
