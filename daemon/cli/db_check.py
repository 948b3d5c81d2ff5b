"""`classifyd db check`: what is wrong with the database and the bundles, and its repair."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, open_database
from daemon.errors import EXIT_FAILED, BusyError, ConfigError, DatabaseError
from daemon.text import printable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from daemon.bundle_check import BundleProblem
    from daemon.config import Loaded
    from daemon.store.consistency import Problem

_ROUNDS = 3
"""Mending one thing may bring up the next."""


@click.command()
@config_option
@click.option("--drift", is_flag=True, help="Compare the tables with the program's models too.")
@click.option("--repair", is_flag=True, help="Mend what can be mended, after a backup.")
def check(config: Path | None, drift: bool, repair: bool) -> None:
    """Read the whole database, and every bundle, for damage and contradictions.

    Exits 1 when there are any (left). Nothing is changed without --repair, which needs the daemon
    stopped.

    \b
    Examples:
      classifyd db check
      classifyd db check --drift        tables, views and indexes too
      classifyd db check --repair       after `classifyd db check` has told what it would do
    """
    engine, loaded = open_database(config)
    if repair:
        with _alone(loaded):
            left = _repair(engine, loaded)
    else:
        left = _lines(_found(engine, loaded, _is_idle(loaded)))
    for line in left:
        click.echo(line)
    for line in (drifted := _drift(engine) if drift else []):
        click.echo(line)
    if left or drifted:
        sys.exit(EXIT_FAILED)
    click.echo(f"{loaded.settings.database}: nothing is wrong")


def _found(engine: "Engine", loaded: "Loaded", is_idle: bool) -> "list[Problem | BundleProblem]":
    from daemon.bundle_check import bundle_problems
    from daemon.store.consistency import problems
    from daemon.store.database import reading
    from daemon.store.models import Models
    from daemon.store.shape import misshapen, promised

    with reading(engine) as connection:
        rows = [*problems(connection, is_idle), *misshapen(connection, promised())]
    bundles = bundle_problems(Models(engine), loaded.settings, time.time(), is_idle)
    return [*rows, *bundles]


def _lines(found: "Sequence[Problem | BundleProblem]") -> list[str]:
    return [
        printable(f"{each}; " + (f"--repair {each.repair}" if each.repair else "not repaired here"))
        for each in found
    ]


@contextmanager
def _alone(loaded: "Loaded") -> Iterator[None]:
    """Keep daemon and training away; raises `BusyError` where one is at work."""
    from daemon.app import make_folders, open_lock
    from daemon.lock import training_lock

    make_folders(loaded.settings)
    with open_lock(loaded), training_lock(loaded.settings.state_dir):
        yield


def _is_idle(loaded: "Loaded") -> bool:
    """Tell whether no daemon and no training runs here."""
    try:
        with _alone(loaded):
            return True
    except (BusyError, ConfigError, DatabaseError):
        return False


def _repair(engine: "Engine", loaded: "Loaded") -> list[str]:
    """Mend what can be mended; returns what is left."""
    found = _found(engine, loaded, is_idle=True)
    if any(each.repair for each in found):
        _back_up(loaded)
    for _ in range(_ROUNDS):
        if not any(each.repair for each in found):
            break
        _mend(engine, found)
        found = _found(engine, loaded, is_idle=True)
    return _lines(found)


def _back_up(loaded: "Loaded") -> None:
    from daemon.store.database import sqlite_path
    from daemon.store.migrate import backup_file, backup_name

    path = sqlite_path(loaded.settings.database)
    assert path is not None
    backup = backup_file(path, loaded.settings.state_dir / "backups" / backup_name(path))
    click.echo(f"{backup}: holds the database as it was before")


def _mend(engine: "Engine", found: "Sequence[Problem | BundleProblem]") -> None:
    from daemon.store.consistency import Problem, repair
    from daemon.store.database import writing

    with writing(engine) as connection:
        repair(connection, [each for each in found if isinstance(each, Problem)])
    for each in found:
        if not isinstance(each, Problem):
            each.mend()
        if each.repair:
            click.echo(printable(f"{each}; {each.repair}: done"))


def _drift(engine: "Engine") -> list[str]:
    from alembic.util import CommandError

    from daemon.store.migrate import check as check_models

    try:
        check_models(engine)
    except CommandError as error:
        return [f"drift: {error}"]
    return []
