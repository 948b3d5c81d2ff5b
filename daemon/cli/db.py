"""`classifyd db`: upgrade, check and back up the database."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, load_config, open_database
from daemon.errors import EXIT_FAILED, DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from daemon.config import Settings


@click.group()
def db() -> None:
    """Upgrade, check and back up the database."""


@db.command()
@config_option
def upgrade(config: Path | None) -> None:
    """Make the database, or bring it to this program's schema after a backup."""
    from daemon.progress import stages
    from daemon.store.migrate import STAGES
    from daemon.store.migrate import upgrade as upgrade_database

    settings = load_config(config).settings
    with stages(STAGES) as progress:
        done = upgrade_database(
            settings.database, _backups(settings), progress, settings.disk.min_free
        )
    if done.before == done.after:
        click.echo(f"{settings.database}: has schema {done.after} already; nothing to do")
    elif done.before is None:
        click.echo(f"{settings.database}: made with schema {done.after}")
    else:
        click.echo(f"{settings.database}: brought from schema {done.before} to {done.after}")
    if done.backup is not None:
        click.echo(f"{done.backup}: holds the database as it was before")


@db.command()
@config_option
@click.option("--drift", is_flag=True, help="Compare the tables with the program's models too.")
def check(config: Path | None, drift: bool) -> None:
    """Read the whole database for damage and contradictions; exit 1 when there are any.

    \b
    Examples:
      classifyd db check
      classifyd db check --drift        tables, views and indexes too
    """
    from daemon.store.consistency import problems
    from daemon.store.database import reading
    from daemon.store.shape import misshapen, promised

    engine, loaded = open_database(config)
    with reading(engine) as connection:
        found = [*problems(connection), *misshapen(connection, promised())]
    if drift:
        found += _drift(engine)
    for problem in found:
        click.echo(problem)
    if found:
        sys.exit(EXIT_FAILED)
    click.echo(f"{loaded.settings.database}: nothing is wrong")


@db.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@config_option
def backup(file: Path | None, config: Path | None) -> None:
    """Copy the database to FILE while it is in use; by default into the state folder.

    \b
    Examples:
      classifyd db backup                        into state/backups
      classifyd db backup /mnt/nas/classifyd.db  elsewhere
    """
    from daemon.progress import stages
    from daemon.store.database import sqlite_path
    from daemon.store.migrate import STAGES, backup_file

    settings = load_config(config).settings
    source = sqlite_path(settings.database)
    if source is None:
        raise DatabaseError(f"{settings.database}: is no file; use the backup of its own server")
    if file is not None and file.exists():
        raise DatabaseError(f"{file}: exists already; name another file")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    wanted = file or _backups(settings) / f"{source.stem}-{stamp}.db"
    with stages(STAGES) as progress:
        target = backup_file(source, wanted, progress, settings.disk.min_free)
    click.echo(f"{target}: holds the database as it is now")


def _backups(settings: "Settings") -> Path:
    return settings.state_dir / "backups"


def _drift(engine: "Engine") -> list[str]:
    from alembic.util import CommandError

    from daemon.store.migrate import check as check_models

    try:
        check_models(engine)
    except CommandError as error:
        return [f"drift: {error}"]
    return []
