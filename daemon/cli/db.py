"""`classifyd db`: upgrade, check, back up and restore the database."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, load_config
from daemon.cli.db_check import check
from daemon.errors import DatabaseError

if TYPE_CHECKING:
    from daemon.config import Settings


@click.group()
def db() -> None:
    """Upgrade, check, back up and restore the database."""


db.add_command(check)


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
    from daemon.store.migrate import STAGES, backup_file, backup_name

    settings = load_config(config).settings
    source = _file_of(settings)
    if file is not None and file.exists():
        raise DatabaseError(f"{file}: exists already; name another file")
    wanted = file or _backups(settings) / backup_name(source)
    with stages(STAGES) as progress:
        target = backup_file(source, wanted, progress, settings.disk.min_free)
    click.echo(f"{target}: holds the database as it is now")


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@config_option
def restore(file: Path, config: Path | None) -> None:
    """Put the backup FILE in the place of the database; what was there is kept as a backup.

    The daemon must be stopped. A backup of an older schema is upgraded by the next start.

    \b
    Example:
      classifyd db restore state/backups/classifyd-20260501T120000Z.db
    """
    from daemon.lock import database_lock
    from daemon.progress import stages
    from daemon.store.migrate import STAGES, backup_name
    from daemon.store.restoring import restore as put_back

    settings = load_config(config).settings
    path = _file_of(settings)
    with database_lock(path), stages(STAGES) as progress:
        done = put_back(file, path, _backups(settings) / backup_name(path), progress)
    click.echo(f"{path}: is {file} now (schema {done.revision})")
    if done.kept is not None:
        click.echo(f"{done.kept}: holds the database as it was before")


def _file_of(settings: "Settings") -> Path:
    from daemon.store.database import sqlite_path

    path = sqlite_path(settings.database)
    if path is None:
        raise DatabaseError(f"{settings.database}: is no file; use the backup of its own server")
    return path


def _backups(settings: "Settings") -> Path:
    return settings.state_dir / "backups"
