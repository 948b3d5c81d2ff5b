"""`classifyd results`: query what was seen."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli import output as out
from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind
from daemon.cli.paths import absolute
from daemon.cli.times import camera_text, moment, utc_text
from daemon.errors import UsageError
from daemon.store import queries
from daemon.store.results import Follower, Wanted
from daemon.store.results import results as found_results
from daemon.text import display_path

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

COLUMNS = (
    Column("classified_at", Kind.TIME),
    Column("label"),
    Column("confidence", Kind.CONFIDENCE),
    Column("is_unknown", Kind.FLAG),
    Column("path"),
    Column("model_version"),
    Column("source", in_table=False),
    Column("taken_at", Kind.CAMERA_TIME, in_table=False),
)
_LIMIT = 50
_LOOK_EVERY_S = 0.5
_Time = Callable[[datetime], str]


def _time_option(name: str, help_text: str, written: _Time = utc_text) -> Callable[..., Any]:
    def read(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
        return None if text is None else written(moment(text, datetime.now(UTC)))

    return click.option(name, callback=read, metavar="WHEN", help=help_text)


def _confidence_option(name: str, help_text: str) -> Callable[..., Any]:
    return click.option(name, type=click.FloatRange(0, 1), metavar="0..1", help=help_text)


@click.command()
@config_option
@click.option("--label", metavar="CLASS", help="Only this label.")
@_time_option("--since", "Classified since: 30m, 12h, 1d, 2w ago, or an ISO date or time.")
@_time_option("--until", "Classified before; written as for --since.")
@_time_option("--taken-since", "Photographed since, by the camera's own clock.", camera_text)
@click.option("--source", metavar="TITLE", help="Only files of this source.")
@_confidence_option("--min-confidence", "At least so sure.")
@_confidence_option("--max-confidence", "At most so sure.")
@click.option("--unknown", is_flag=True, help="Only images that fit no class well.")
@click.option(
    "--path", metavar="PATH", help="A file, a folder, or a pattern: 'inbox/2026*.jpg', '*/cats/*'."
)
@click.option("--model", metavar="NAME", help="Only where this model version's word is shown.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"At most N rows, 0 for all.  [default: {_LIMIT}; with --follow all]",
)
@click.option("--follow", is_flag=True, help="Print new results as they come, until Ctrl-C.")
@out.format_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to a file instead of standard output.",
)
def results(
    config: Path | None,
    limit: int | None,
    follow: bool,
    form: str,
    output: Path | None,
    path: str | None,
    **conditions: Any,
) -> None:
    """Query what was seen, the newest first.

    \b
    classifyd results --since 1d --label cat --min-confidence 0.8
    classifyd results --path 'holiday/*' --format csv --limit 0 -o holiday.csv
    classifyd results --follow --format jsonl
    """
    if follow and output is not None:
        raise UsageError("--follow writes to standard output; use > FILE instead of --output")
    engine, _ = open_database(config)
    wanted = Wanted(path=path and _absolute(path), **conditions)
    _check_names(engine, wanted)
    if follow:
        _follow(engine, wanted, limit, form)
    else:
        _list(engine, wanted, limit, form, output)


def _absolute(pattern: str) -> str:
    path = absolute(pattern)
    if os.path.isfile(path):  # noqa: PTH113  (bytes)
        return re.sub(r"[*?[]", r"[\g<0>]", display_path(path))
    return display_path(os.fsencode(pattern) if pattern.startswith("*") else path)


def _list(
    engine: "Engine", wanted: Wanted, limit: int | None, form: str, output: Path | None
) -> None:
    from daemon.store.database import reading

    most = _LIMIT if limit is None else limit
    with reading(engine) as connection:
        rows = found_results(connection, wanted, most and most + 1)
        count = out.write_rows(islice(rows, most or None), COLUMNS, form, output)
        if count == 0:
            click.echo(f"classifyd: {_nothing(connection, wanted)}", err=True)
        elif limit is None and next(rows, None) is not None:
            click.echo(f"classifyd: the newest {most}; --limit 0 for all", err=True)


def _follow(engine: "Engine", wanted: Wanted, limit: int | None, form: str) -> None:
    def wait() -> bool:
        sys.stdout.flush()
        time.sleep(_LOOK_EVERY_S)
        return True

    rows: Iterator[Any] = Follower(engine, wanted).run(wait)
    try:
        out.follow_rows(islice(rows, limit or None), COLUMNS, form)
    except KeyboardInterrupt:
        return


def _check_names(engine: "Engine", wanted: Wanted) -> None:
    """Refuse a label, model or source that does not exist, naming what is close to it."""
    from daemon.store.database import reading

    with reading(engine) as connection:
        if wanted.label is not None:
            _check("class", wanted.label, queries.known_labels(connection))
        if wanted.model is not None:
            _check("model version", wanted.model, queries.known_models(connection))
        if wanted.source is not None:
            _check("source", wanted.source, queries.known_sources(connection))


def _check(what: str, name: str, known: Sequence[str]) -> None:
    if name in known or not known:
        return
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.5)
    listed = ", ".join(close or known[:10])
    more = "" if close or len(known) <= 10 else f" and {len(known) - 10} more"
    says = "did you mean" if close else "known:"
    raise UsageError(f"there is no {what} {name!r}; {says} {listed}{more}{'?' if close else ''}")


def _nothing(connection: "Connection", wanted: Wanted) -> str:
    if queries.last_classified_at(connection) is None:
        return "nothing has been classified yet; `classifyd status` says what is going on"
    if wanted.label is not None and wanted == Wanted(label=wanted.label):
        return f"no image is labelled {wanted.label!r} so far"
    return "no result fits all these conditions"
