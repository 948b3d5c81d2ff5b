"""What the commands share: the configuration option and opening the database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from daemon.config import Loaded

Function = TypeVar("Function", bound=Callable[..., Any])


def config_option(command: Function) -> Function:
    """Add `--config FILE` (argument `config: Path | None`)."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="CLASSIFYD_CONFIG",
        metavar="FILE",
        help="Configuration file; ./config.yaml by default.",
    )(command)


def load_config(config: Path | None) -> "Loaded":
    """Read the configuration and the environment; raises `ConfigError`."""
    from daemon.config import load

    return load(config, os.environ)


def open_database(config: Path | None) -> "tuple[Engine, Loaded]":
    """Open the configured database for queries; raises when it is missing or not current.

    Where this user may not write, it is opened for reading alone.
    """
    from daemon.errors import DatabaseError
    from daemon.store.database import open_engine, open_unwritable, sqlite_path
    from daemon.store.migrate import require_current

    loaded = load_config(config)
    database = loaded.settings.database
    path = sqlite_path(database)
    if path is not None and not path.exists():
        raise DatabaseError(
            f"{path}: there is no database yet; start the daemon with `classifyd run`, "
            "or make one with `classifyd db upgrade`"
        )
    if path is None or all(os.access(place, os.W_OK) for place in (path, path.parent)):
        engine = open_engine(database)
    else:
        engine = open_unwritable(path)
    require_current(engine, database)
    return engine, loaded
