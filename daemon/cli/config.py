"""`classifyd config`: check, show and describe the configuration."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, load_config
from daemon.cli.output import Column, format_option, write_document, write_rows

if TYPE_CHECKING:
    from daemon.catalogue import Catalogue
    from daemon.config import Loaded


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command()
@config_option
def check(config: Path | None) -> None:
    """Name everything that is wrong with the configuration; exit 2 where something is."""
    from daemon.app import Wiring, make_catalogue
    from daemon.errors import ConfigError
    from daemon.store.database import require_supported

    loaded = load_config(config)
    catalogue = make_catalogue(loaded.settings)
    broken = set(catalogue.plugins.broken) & catalogue.plugins.configured
    for line in catalogue.plugins.left_out():
        click.echo(line, err=True)
    catalogue.validate(loaded.settings, loaded.base, loaded.origins)
    if broken:
        place = loaded.origins.get("plugins", loaded.path)
        raise ConfigError(f"{place}: plugins: broken: {', '.join(sorted(broken))}; mend or drop it")
    require_supported(loaded.settings.database)
    Wiring(loaded).sources()  # two of one title would end the start
    click.echo(f"{loaded.path}: nothing is wrong")


@config.command()
@config_option
@format_option
def show(config: Path | None, form: str) -> None:
    """List the values in force, and where each comes from."""
    from daemon.app import make_catalogue

    loaded = load_config(config)
    plugins = make_catalogue(loaded.settings)
    plugins.validate(loaded.settings, loaded.base, loaded.origins)
    rows = _rows(loaded, plugins)
    if form in ("table", "csv"):
        rows = ({**row, "value": as_text(row["value"])} for row in rows)
    write_rows(rows, (Column("key"), Column("value"), Column("origin")), form)


@config.command()
@config_option
def schema(config: Path | None) -> None:
    """Print a JSON Schema of the configuration with the options of every plugin.

    \b
    Example:
      classifyd config schema > schema.json  an editor can complete and check by it
    """
    from daemon.app import make_catalogue
    from daemon.config import load
    from daemon.config.schema import json_schema

    tables = make_catalogue(load(config, os.environ, required=False).settings).tables()
    options = {
        kind: {name: entry.factory.options for name, entry in table.entries.items()}
        for kind, table in tables.items()
    }
    write_document(json_schema(options))


def _rows(loaded: "Loaded", plugins: "Catalogue") -> Iterator[dict[str, Any]]:
    """Yield every key with its value and origin; a selection's options with their defaults."""
    chosen = {key: (kind, selection) for key, kind, selection in loaded.settings.selections()}
    for parts, value in loaded.settings.items():
        key = ".".join(map(str, parts))
        if key in chosen:
            kind, selection = chosen[key]
            yield _row(loaded, key, selection.name)
            options = plugins.tables()[kind].options(selection, loaded.base)
            for name, option in options.model_dump(mode="json").items():
                yield _row(loaded, f"{key}.{name}", option)
        elif key.rpartition(".")[0] not in chosen:
            yield _row(loaded, key, value)


def _row(loaded: "Loaded", key: str, value: object) -> dict[str, Any]:
    plain = str(value) if isinstance(value, Path) else value
    return {"key": key, "value": plain, "origin": loaded.origins.get(key, "default")}


def as_text(value: object) -> str:
    """Write a plain value for a table; an empty text is shown as such."""
    return value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)
