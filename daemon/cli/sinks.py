"""`classifyd sinks`: how the sinks are, what they rejected, and another try."""

from pathlib import Path

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows
from daemon.errors import UsageError
from daemon.store import sinks as store
from daemon.store.database import reading, writing

_COLUMNS = (
    Column("name"),
    Column("waiting", Kind.NUMBER),
    Column("given_up", Kind.NUMBER),
    Column("delivered_at", Kind.TIME),
    Column("failures", Kind.NUMBER),
    Column("next_try_at", Kind.TIME),
    Column("error"),
)
_REJECTED_COLUMNS = (
    Column("sink"),
    Column("event_id", Kind.NUMBER),
    Column("kind"),
    Column("attempts", Kind.NUMBER),
    Column("is_given_up", Kind.FLAG),
    Column("next_try_at", Kind.TIME),
    Column("path"),
    Column("reason"),
    Column("happened_at", Kind.TIME, in_table=False),
)


@click.group()
def sinks() -> None:
    """Say how the sinks are and what they rejected; offer it again."""


@sinks.command("list")
@config_option
@format_option
def list_(config: Path | None, form: str) -> None:
    """List the sinks: what waits for them, what was given up, their last trouble.

    \b
    Example:
      classifyd sinks list
    """
    engine, _ = open_database(config)
    with reading(engine) as connection:
        found = store.sinks(connection)
    if write_rows(found, _COLUMNS, form) == 0:
        click.echo("classifyd: no sink has got or awaits an event", err=True)


@sinks.command()
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
def rejected(config: Path | None, limit: int, form: str) -> None:
    """List the events that a sink rejected and has not taken since, newest first.

    \b
    Example:
      classifyd sinks rejected          which, why, and whether they are tried again
    """
    engine, _ = open_database(config)
    with reading(engine) as connection:
        if write_rows(store.rejected(connection, limit), _REJECTED_COLUMNS, form) == 0:
            click.echo("classifyd: no sink has rejected an event", err=True)


@sinks.command()
@click.argument("name")
@config_option
def retry(name: str, config: Path | None) -> None:
    """Offer a sink at once what it rejected, with all tries, and whatever else waits.

    \b
    Example:
      classifyd sinks retry webhook     after the receiver was mended
    """
    engine, _ = open_database(config)
    with writing(engine) as connection:
        known = [row["name"] for row in store.sinks(connection)]
        if name not in known:
            raise UsageError(f"no event awaits a sink {name}; known: {', '.join(known) or 'none'}")
        count = store.offer_again(connection, name)
    click.echo(f"{count} {'event' if count == 1 else 'events'} offered again")
