"""`classifyd sort`: what the `sort` sinks have put away, and taking it back."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from daemon.cli.common import config_option, load_config
from daemon.cli.output import Column, Kind, Row, format_option, write_rows
from daemon.errors import EXIT_FAILED, UsageError
from daemon.text import display_path, printable
from plugins.sinks._journal import Entry, Journal, open_existing
from plugins.sinks._undoing import KeptError, can_undo, undo

_COLUMNS = (
    Column("at", Kind.TIME),
    Column("mode"),
    Column("state"),
    Column("path"),
    Column("target"),
)
_TAKEN_BACK = {
    "copy": ("copy", "copies", "removed"),
    "hardlink": ("hard link", "hard links", "removed"),
    "symlink": ("symbolic link", "symbolic links", "removed"),
    "move": ("file", "files", "moved back"),
}


@click.group()
def sort() -> None:
    """Say what the sort sink has put away, and take it back."""


@sort.command("list")
@config_option
@format_option
def list_(config: Path | None, form: str) -> None:
    """List what was put away and not taken back, newest first.

    \b
    Examples:
      classifyd sort list               which file is where
      classifyd sort list --format csv  for a spreadsheet
    """
    rows = [_row(folder, each) for folder, journal in _journals(config) for each in journal]
    if write_rows(rows, _COLUMNS, form) == 0:
        click.echo("classifyd: nothing was sorted", err=True)


@sort.command("undo")
@click.option("--dry-run", is_flag=True, help="Only tell what would happen.")
@config_option
def undo_(dry_run: bool, config: Path | None) -> None:
    """Take back all that the sort sink has done.

    Moved files go back where they were found if nothing else is there now; copies and links go
    if their original is still there, unchanged. What would be lost stays, with the reason, and
    the command exits 1. It may be repeated.

    \b
    Examples:
      classifyd sort undo --dry-run     see what would happen
      classifyd sort undo               take it back
    """
    counts: Counter[str] = Counter()
    kept = 0
    for folder, entries in _journals(config):
        with closing(Journal(folder)) as journal:
            for entry in entries:
                try:
                    done = can_undo(folder, entry) if dry_run else undo(journal, folder, entry)
                except KeptError as error:
                    kept += 1
                    click.echo(f"classifyd: {_shown(folder / entry.target)}: {error}", err=True)
                else:
                    counts[entry.mode] += done
    click.echo(_summary(counts, kept, dry_run))
    if kept:
        sys.exit(EXIT_FAILED)


def _journals(config: Path | None) -> Iterator[tuple[Path, list[Entry]]]:
    """Yield the folder of each configured sort sink that has a journal, and its entries."""
    folders = _folders(config)
    if not folders:
        raise UsageError("no sort sink is configured; name one under `sinks`")
    for folder in folders:
        journal = open_existing(folder)
        if journal is not None:
            with closing(journal):
                entries = journal.entries()
            yield folder, entries


def _folders(config: Path | None) -> list[Path]:
    from plugins.sinks.sort import SortOptions

    loaded = load_config(config)
    found = (
        SortOptions.model_validate(dict(each.options), context={"base": loaded.base}).folder
        for each in loaded.settings.sinks
        if each.name == "sort"
    )
    return list(dict.fromkeys(found))


def _row(folder: Path, entry: Entry) -> Row:
    target = display_path(os.fsencode(folder / entry.target))
    path = display_path(os.fsencode(entry.path))
    told = {"at": entry.at, "mode": entry.mode, "state": entry.state}
    return {**told, "path": path, "target": target}


def _summary(counts: Counter[str], kept: int, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    parts = []
    for mode, (one, many, done) in _TAKEN_BACK.items():
        if counts[mode]:
            parts.append(f"{counts[mode]} {one if counts[mode] == 1 else many} {would}{done}")
    if kept:
        parts.append(f"{kept} {would}kept")
    return ", ".join(parts) or "nothing to take back"


def _shown(path: Path) -> str:
    return printable(display_path(os.fsencode(path)))
