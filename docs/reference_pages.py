"""Writes the reference of the database out of its schema, of the commands out of their help, and
of the metrics out of their declarations.

`python docs/reference_pages.py` writes the pages.
"""

import inspect
import sqlite3
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import Column, Table

import plugins
from daemon.catalogue import Catalogue
from daemon.cli import _COMMANDS, cli
from daemon.config.sections import MetricsSettings
from daemon.loader import load_plugins
from daemon.metrics.families import COUNTED, GATHERED
from daemon.store.migrate import known_head, upgrade
from daemon.store.schema import Base

ROOT = Path(__file__).parents[1]

DATABASE_HEAD = """\
# Database

<!-- Written by docs/reference_pages.py; change daemon/store/schema.py instead. -->

One SQLite file (`database:` in the configuration) in WAL mode: any number of programs may read it
while the daemon writes. Questions and their SQL are in [Ask what was seen](../how-to/query.md).

What a program beside the daemon may rely on:

- The views stay. A migration may add columns to them, but neither removes nor renames any.
- The tables serve the program: read them where the views do not do, and expect them to change.
- Times are UTC ISO-8601 text, `2026-05-01T12:00:00.000Z`, so that they sort and compare as text;
  `taken_at` is the camera's own local time, `2026-05-01T14:00:00`, or null.
- A path has one row in `file` for each version of it, and exactly one with `is_current = 1`.
- An image has at most one prediction by each model version, and a done file always has one.
- The active model version is that of the newest row in `deployment`, and is stored nowhere else.
- `path` is for people; a path that is no UTF-8 has `\\xNN` there, and its bytes in `path_bytes`.
- Labels are retracted, not deleted; deployments and predictions are never changed.
- The daemon alone writes claims and predictions. Others should only read; what a command changes,
  it changes in one short transaction.

`classifyd db check` tests these promises. The schema described here is `{revision}`; an older
database is backed up and brought to it by `classifyd run` or `classifyd db upgrade`, a newer one
is refused.
"""

COMMANDS_HEAD = """\
# Commands

<!-- Written by docs/reference_pages.py; change the commands' own help instead. -->

`classifyd`, or `python -m daemon`. Every command takes `--config FILE` (or the variable
`CLASSIFYD_CONFIG`); listings take `--format`. Results go to standard output, all else to standard
error.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | failed; the message says what and the remedy |
| 2 | bad usage or configuration |
| 75 | somebody else is at it; try again later |
"""


METRICS_HEAD = """\
# Metrics

<!-- Written by docs/reference_pages.py; change daemon/metrics/families.py instead. -->

What `http://127.0.0.1:{port}/metrics` tells, in Prometheus' text format or, to those who accept it,
OpenMetrics; [Monitor the daemon](../how-to/monitor.md) tells how to use it. Beside these there are
the `process_...` metrics of Python's client for the main process.

A counter or histogram counts since the daemon's start. A gauge is looked up when it is asked for:
in the daemon, on the machine, or in the database. All of it takes a few milliseconds with a million
files.
"""


def pages() -> dict[Path, str]:
    """Return the pages with their text."""
    reference = ROOT / "docs" / "reference"
    return {
        reference / "database.md": database_page(),
        reference / "commands.md": commands_page(),
        reference / "metrics.md": metrics_page(),
    }


def database_page() -> str:
    """Return the reference of views and tables."""
    parts = [DATABASE_HEAD.format(revision=known_head()), "## Views\n"]
    for name, columns, statement in _views():
        listed = ", ".join(f"`{column}`" for column in columns)
        parts.append(f"### `{name}`\n\nColumns: {listed}.\n\n```sql\n{statement}\n```\n")
    parts.append("## Tables\n")
    for model in Base.__subclasses__():
        table = model.__table__
        assert isinstance(table, Table)
        parts.append(f"### `{table.name}`\n\n{inspect.getdoc(model)}\n")
        parts.append("\n".join(_table_lines(table)) + "\n")
    return "\n".join(parts)


def _views() -> Iterator[tuple[str, list[str], str]]:
    """Yield name, columns and text of each view of a new database."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "new.db"
        upgrade(str(database), Path(folder))
        with closing(sqlite3.connect(database)) as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
            for name, statement in found.fetchall():
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                first, rest = statement.split("\n", 1)
                text = f"{first.strip()}\n{textwrap.dedent(rest).strip()}"
                yield name, [column[1] for column in columns], text


def _table_lines(table: Table) -> Iterator[str]:
    yield "| column | type | may be null | note |"
    yield "| --- | --- | --- | --- |"
    for column in table.columns:
        null = "yes" if column.nullable else ""
        yield f"| `{column.name}` | {column.type} | {null} | {', '.join(_notes(column))} |"


def _notes(column: Column[object]) -> Iterator[str]:
    if column.primary_key:
        yield "key"
    if column.unique:
        yield "unique"
    for reference in column.foreign_keys:
        yield f"of `{reference.column.table.name}`"


def commands_page() -> str:
    """Return the help of every command, those of plugins in the box last."""
    root = click.Context(cli, info_name="classifyd", **cli.context_settings)
    parts = [COMMANDS_HEAD]
    for name in _COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        parts.extend(_help(command, root, name))
    for name, command in sorted(_plugins_commands().items()):
        parts.extend(_help(command, root, name))
    return "\n".join(parts)


def _plugins_commands() -> dict[str, click.Command]:
    """Return the commands that plugins in the box add."""
    group = click.Group()
    Catalogue(load_plugins(plugins.BUILTIN, ())).commands(group)
    return group.commands


def _help(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=90)
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner_name, inner in sorted(command.commands.items()):
            yield from _help(inner, context, inner_name)


def metrics_page() -> str:
    """Return the reference of every metric."""
    parts = [METRICS_HEAD.format(port=MetricsSettings().port)]
    titles = {"What is counted": COUNTED, "What is looked up": GATHERED}
    for title, families in titles.items():
        parts.append(f"## {title}\n\n| metric | kind | labels | of | meaning |")
        parts.append("| --- | --- | --- | --- | --- |")
        for each in families:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            parts.append(
                f"| `{each.shown}` | {each.kind} | {labels} | {each.of} | {each.meaning} |"
            )
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: written\n")


if __name__ == "__main__":
    main()
