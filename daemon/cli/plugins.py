"""`classifyd plugins`: what can be chosen, from where, with which options."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option
from daemon.cli.config import as_text
from daemon.cli.output import Column, format_option, write_rows

if TYPE_CHECKING:
    from daemon.catalogue import Catalogue, Entry

_LISTED = tuple(map(Column, ("kind", "name", "origin", "summary")))
_OPTIONS = (
    Column("kind", in_table=False),
    Column("name", in_table=False),
    Column("option"),
    Column("type"),
    Column("default"),
    Column("required", in_table=False),
    Column("description"),
)


@click.command()
@click.argument("name", required=False)
@config_option
@format_option
def plugins(name: str | None, config: Path | None, form: str) -> None:
    """List the plugins, or show the options of the one called NAME.

    \b
    Examples:
      classifyd plugins                 all there are
      classifyd plugins folder          the options of one
    """
    from daemon.app import make_catalogue
    from daemon.config import load

    found = make_catalogue(load(config, os.environ, required=False).settings)
    if name:
        _show_one(found, name, form)
    else:
        write_rows(_rows(found), _LISTED, form)
    for line in found.plugins.left_out():
        click.echo(line, err=True)


def _rows(found: "Catalogue") -> Iterator[dict[str, Any]]:
    for table in found.tables().values():
        for name, entry in table.entries.items():
            summary = entry.factory.summary
            yield {"kind": table.word, "name": name, "origin": entry.origin, "summary": summary}
    for plugin in found.plugins.implementing("register_commands"):
        origin = found.plugins.provenance[plugin]
        yield {"kind": "commands", "name": plugin, "origin": origin, "summary": ""}


def _show_one(found: "Catalogue", name: str, form: str) -> None:
    matches = _called(found, name)
    if form != "table":
        rows = (row for word, entry in matches for row in _options(word, entry))
        write_rows(rows, _OPTIONS, form)
        return
    for word, entry in matches:
        click.echo(f"{word} {name} ({entry.origin}): {entry.factory.summary}")
        write_rows(map(_for_people, _options(word, entry)), _OPTIONS, form)


def _called(found: "Catalogue", name: str) -> "list[tuple[str, Entry[Any]]]":
    from daemon.config.problems import nearest
    from daemon.errors import PluginError

    if name in found.plugins.broken:
        raise PluginError(
            f"plugin {found.plugins.describe(name)} is broken: {found.plugins.broken[name]}"
        )
    tables = found.tables().values()
    matches = [(table.word, table.entries[name]) for table in tables if name in table.entries]
    if not matches:
        known = sorted({known for table in tables for known in table.entries})
        raise PluginError(
            f"there is no plugin {name}{nearest(name, known)} (known: {', '.join(known)})"
            + "".join(f"\n{line}" for line in found.plugins.left_out())
        )
    return matches


def _options(word: str, entry: "Entry[Any]") -> Iterator[dict[str, Any]]:
    from daemon.config.schema import in_words

    model = entry.factory.options
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        described = schema["properties"][name]
        yield {
            "kind": word,
            "name": entry.factory.name,
            "option": name,
            "type": in_words(described, schema.get("$defs", {})).replace("`", ""),
            "default": described.get("default"),
            "required": field.is_required(),
            "description": field.description or "",
        }


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "default": "(required)" if row["required"] else as_text(row["default"])}
