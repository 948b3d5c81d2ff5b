"""Rows out: tables for people; JSON, JSON Lines, CSV and Parquet for programs.

Everything but a table goes out row by row, so that memory stays flat however many rows there are.
"""

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar

import click

from daemon.cli.times import local_text
from daemon.errors import UsageError
from daemon.text import json_text, printable

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
_NARROW = 60
_SAMPLE = 500
# What spreadsheets would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = Mapping[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


class Kind(StrEnum):
    """What the values of a column are, which says how they are written."""

    TEXT = "text"
    NUMBER = "number"
    CONFIDENCE = "confidence"
    FLAG = "flag"
    TIME = "time"  # UTC as in the database; local in tables
    CAMERA_TIME = "camera time"  # as the camera wrote it


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its kind, and whether tables show it."""

    name: str
    kind: Kind = Kind.TEXT
    in_table: bool = True


def format_option(command: Function) -> Function:
    """Add `--format` (argument `form`) to a command that lists rows."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How the rows are written.",
    )(command)


def document_option(command: Function) -> Function:
    """Add `--format text|json` (argument `form`) to a command that tells of one thing."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help="For people, or for programs.",
    )(command)


def write_rows(
    rows: Iterable[Row], columns: Sequence[Column], form: str, output: Path | None = None
) -> int:
    """Write rows to standard output, or to a file that appears whole; returns how many."""
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    if form == "parquet":
        from daemon.cli.parquet import write_parquet

        with _opened_binary(output) as sink:
            write_parquet(counted(), columns, sink)
    else:
        with _opened(output) as stream:
            _WRITERS[form](counted(), columns, stream)
    return count


def follow_rows(rows: Iterable[Row], columns: Sequence[Column], form: str) -> None:
    """Write rows that arrive one by one to standard output, each at once."""
    with _opened(None) as stream:
        if form == "table":
            _write_lines(rows, columns, stream, sample=0)
        elif form in ("jsonl", "csv"):
            _WRITERS[form](rows, columns, stream)
        else:
            raise UsageError(f"--follow never ends a {form} file; use --format jsonl or csv")


def write_document(document: Any) -> None:
    """Write one JSON document to standard output."""
    with _opened(None) as stream:
        stream.write(json_text(document, indent=2) + "\n")


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output."""
    with _opened(None) as stream:
        stream.writelines(f"{line}\n" for line in lines)


def shown(value: Any, kind: Kind) -> str:
    """Write one value for people."""
    if value is None:
        return ""
    match kind:
        case Kind.CONFIDENCE:
            return f"{value:.2f}"
        case Kind.FLAG:
            return "yes" if value else ""
        case Kind.TIME:
            return local_text(value)
        case Kind.CAMERA_TIME:
            return printable(value.replace("T", " ", 1))
    return printable(str(value))


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is not None:
        with _appearing(output) as part, part.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough, which is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _opened_binary(output: Path | None) -> Iterator[BinaryIO]:
    if output is not None:
        with _appearing(output) as part, part.open("wb") as file:
            yield file
    elif sys.stdout.isatty():
        raise UsageError("parquet is not for a terminal: write it to a file with `> FILE`")
    else:
        with _opened(None) as stream:
            yield stream.buffer


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """Yield a place beside `output` that becomes it when all went well."""
    part = output.with_name(output.name + ".part")
    try:
        yield part
        part.replace(output)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def _write_json(rows: Iterable[Row], columns: Sequence[Column], stream: TextIO) -> None:
    stream.write("[")
    separator = "\n"
    for row in rows:
        stream.write(separator + _json_line(row, columns))
        separator = ",\n"
    stream.write("\n]\n" if separator != "\n" else "]\n")


def _write_jsonl(rows: Iterable[Row], columns: Sequence[Column], stream: TextIO) -> None:
    for row in rows:
        stream.write(_json_line(row, columns) + "\n")


def _json_line(row: Row, columns: Sequence[Column]) -> str:
    return json_text({column.name: row[column.name] for column in columns})


def _write_csv(rows: Iterable[Row], columns: Sequence[Column], stream: TextIO) -> None:
    writer = csv.writer(stream)
    writer.writerow([column.name for column in columns])
    is_seen = stream.isatty()
    for row in rows:
        cells = (_csv_cell(row[column.name]) for column in columns)
        writer.writerow([printable(c) if is_seen and isinstance(c, str) else c for c in cells])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _write_table(rows: Iterable[Row], columns: Sequence[Column], stream: TextIO) -> None:
    width = _terminal_width(stream)
    if width >= _NARROW:
        _write_rich(rows, columns, stream, width)
    else:
        _write_lines(rows, columns, stream, sample=_SAMPLE)


def _terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal, 0 where it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except OSError:
        return 0


def _write_rich(rows: Iterable[Row], columns: Sequence[Column], stream: TextIO, width: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    visible = [column for column in columns if column.in_table]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in visible:
        is_wide = column.kind is Kind.TEXT
        table.add_column(
            _heading(column),
            justify="right" if _is_number(column) else "left",
            no_wrap=not is_wide,
            overflow="fold" if is_wide else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(shown(row[column.name], column.kind)) for column in visible))
    if table.row_count:
        Console(file=stream, width=width, highlight=False).print(table)


def _write_lines(
    rows: Iterable[Row], columns: Sequence[Column], stream: TextIO, sample: int
) -> None:
    """Write aligned lines; the first `sample` rows say how wide the columns are."""
    visible = [column for column in columns if column.in_table]
    cells = ([shown(row[column.name], column.kind) for column in visible] for row in rows)
    first = list(islice(cells, sample))
    if sample and not first:
        return
    headings = [_heading(column) for column in visible]
    widths = [
        max(_WIDTHS[column.kind], *(len(line[number]) for line in [headings, *first]))
        for number, column in enumerate(visible)
    ]
    for line in chain([headings], first, cells):
        stream.write(_aligned(line, widths, visible) + "\n")


_WIDTHS = {kind: 19 if kind in (Kind.TIME, Kind.CAMERA_TIME) else 0 for kind in Kind}


def _aligned(line: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    cells = (
        cell.rjust(width) if _is_number(column) else cell.ljust(width)
        for cell, width, column in zip(line, widths, columns, strict=True)
    )
    return "  ".join(cells).rstrip()


def _heading(column: Column) -> str:
    return column.name.removeprefix("is_").removesuffix("_at").replace("_", " ")


def _is_number(column: Column) -> bool:
    return column.kind in (Kind.NUMBER, Kind.CONFIDENCE)


_WRITERS: Mapping[str, Callable[[Iterable[Row], Sequence[Column], TextIO], None]] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
