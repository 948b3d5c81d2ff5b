"""How listings are printed: a table for people, a JSON array for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

Row = Mapping[str, Any]


def format_option(command: Function) -> Function:
    """Add `--format table|json` (argument `format_: str`)."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table to read, or a JSON array.",
    )(command)


def show(rows: Sequence[Row], columns: Sequence[str], format_: str) -> None:
    """Print rows; the table has only `columns`, JSON has every key."""
    if format_ == "json":
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False, default=str))
    else:
        click.echo(_table(rows, columns), nl=False)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    from rich.console import Console
    from rich.table import Table

    # Into a file or a pipe nothing is wrapped, so that each row stays one line for grep.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    with console.capture() as capture:
        console.print(table, markup=False, highlight=False)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _cell(value: object) -> str:
    from rich.markup import escape

    return "-" if value is None else escape(value if isinstance(value, str) else json.dumps(value))
