"""Writes the default configuration, the reference pages and the systemd units out of the code that
they describe.

`python docs/generate.py` writes them; with `--check` it only names those that are out of date
and exits 1.
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from units import units

import plugins
from daemon.catalogue import Catalogue
from daemon.config import Selection, Settings
from daemon.config.environment import variable
from daemon.config.schema import in_words, json_schema
from daemon.loader import BUILT_IN, load_plugins

ROOT = Path(__file__).parents[1]

YAML_HEAD = """\
# Configuration of classifyd: every key, with its meaning and its default.
#
# Relative paths count from the folder of this file. A key that is left out has its default; a
# wrong one ends the start with the line and what was expected (`classifyd config check`).
# A variable of the environment overrides any key: CLASSIFYD_BATCH__MAX_SIZE=8.
# Wherever a plugin is chosen, give its name, or a mapping of its name and options.
"""

PAGE_HEAD = """\
# Configuration

<!-- Written by docs/generate.py; change daemon/config/sections.py and settings.py instead. -->

`classifyd` reads `config.yaml` in the current folder, the file that `--config FILE` names, or the
one in the variable `CLASSIFYD_CONFIG`. Every key has a default and a variable of the environment
that overrides it, whose value is read as YAML; where it and the file differ, the variable wins.
Relative paths count from the configuration file's folder, and `~` is the home folder.

| command | does |
| --- | --- |
| `classifyd config check` | names every wrong key and value, its line and what is close |
| `classifyd config show` | lists the values in force, and where each comes from |
| `classifyd config schema` | prints a JSON Schema with the options of all plugins, for editors |

Wherever a plugin is chosen, give its name or a mapping of its name and options, for example
`backbone: mobilenet_v2` or `backbone: {name: mobilenet_v2, alpha: 0.35}`. The options of each are
in [Plugins](plugins.md) and in `classifyd plugins NAME`.
"""

PLUGINS_HEAD = """\
# Plugins in the box

<!-- Written by docs/generate.py; change the plugins' own options instead. -->

What configuration can choose without installing anything else. `classifyd plugins` lists these
and those of others; `classifyd plugins NAME` shows the options of one.
"""


def main() -> int:
    """Write or check every generated file."""
    is_check = "--check" in sys.argv[1:]
    stale = [path for path, text in pages().items() if not is_current(path, text)]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'out of date' if is_check else 'written'}\n")
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if is_check and stale else 0


def pages() -> dict[Path, str]:
    """Return every generated file with its text."""
    reference = ROOT / "docs" / "reference"
    return {
        ROOT / "config.yaml": default_yaml(),
        ROOT / "daemon" / "default.yaml": default_yaml(),
        reference / "configuration.md": configuration_page(),
        reference / "plugins.md": plugins_page(),
        **units(),
    }


def is_current(path: Path, text: str) -> bool:
    """Tell whether a file already has this text."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def default_yaml() -> str:
    """Return the default configuration with a comment on every key."""
    parts = [YAML_HEAD]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if is_section(section):
            keys = [yaml_key(key, inner) for key, inner in section.model_fields.items()]
            body = textwrap.indent("\n".join(keys), "  ", lambda line: line.strip() != "")
            parts.append(f"{comment(section.__doc__ or '')}{name}:\n{body}")
        else:
            parts.append(yaml_key(name, field))
    return "\n".join(parts)


def is_section(annotation: Any) -> bool:
    """Tell whether a field of the settings is a section with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def yaml_key(name: str, field: FieldInfo) -> str:
    """Return one key at its default, under its comment."""
    example = f"# Example: {name}: {field.examples[0]}\n" if field.examples else ""
    return f"{comment(field.description or '')}{example}{name}: {written(field.default)}\n"


def comment(text: str) -> str:
    """Wrap a text into comment lines."""
    return "".join(f"# {line}\n" for line in textwrap.wrap(text.strip(), 92))


def written(value: object) -> str:
    """Write a default as a person would."""
    match value:
        case None | bool() | "":
            return flow(value)
        case ByteSize():
            return f"{value // 1_000_000}MB"
        case int() if value > 99_999:
            return f"{value:_}"
        case float() if value.is_integer():
            return str(int(value))
        case tuple():
            return f"[{', '.join(map(written, value))}]"
        case Selection():
            return flow(value.written())
    return str(value)


def flow(value: object) -> str:
    """Write plain data on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]


def configuration_page() -> str:
    """Return the reference of every key."""
    schema = json_schema({})
    definitions = schema["$defs"]
    top = Settings.model_fields
    plain = {name: field for name, field in top.items() if not is_section(field.annotation)}
    parts = [PAGE_HEAD, "## Top level\n", *table(plain, schema["properties"], (), definitions)]
    for name, field in top.items():
        if section := field.annotation if is_section(field.annotation) else None:
            properties = definitions[section.__name__]["properties"]
            parts += [f"\n## `{name}`\n", f"{section.__doc__}\n"]
            parts += table(section.model_fields, properties, (name,), definitions)
    return "\n".join(parts) + "\n"


def table(
    fields: Mapping[str, FieldInfo],
    properties: Mapping[str, Any],
    prefix: tuple[str, ...],
    definitions: Mapping[str, Any],
) -> Iterator[str]:
    """Yield the lines of a table of keys."""
    yield "| key | value | default | variable | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for name, field in fields.items():
        key = (*prefix, name)
        yield row(
            f"`{'.'.join(key)}`",
            in_words(properties[name], definitions),
            f"`{written(field.default)}`",
            f"`{variable(key)}`",
            meaning(field),
        )


def row(*cells: str) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def meaning(field: FieldInfo) -> str:
    """Return a field's description, with its example."""
    example = f" Example: `{field.examples[0]}`" if field.examples else ""
    return f"{field.description or ''}{example}"


def plugins_page() -> str:
    """Return the reference of the built-in plugins and their options."""
    catalogue = Catalogue(load_plugins(plugins.BUILTIN, ()))
    parts = [PLUGINS_HEAD]
    for group, entries in catalogue.tables().items():
        parts.append(f"## {group.capitalize().replace('_', ' ')}\n")
        for name, entry in entries.entries.items():
            if entry.origin == BUILT_IN:
                parts.append(f"### `{name}`\n\n{entry.factory.summary}\n")
                if entry.factory.options.model_fields:
                    parts.append("\n".join(options_table(entry.factory.options)) + "\n")
    return "\n".join(parts)


def options_table(options: type[BaseModel]) -> Iterator[str]:
    """Yield the lines of a table of a plugin's options."""
    schema = options.model_json_schema()
    yield "| option | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in options.model_fields.items():
        default = "required" if field.is_required() else f"`{written(field.get_default())}`"
        value = in_words(schema["properties"][name], schema.get("$defs", {}))
        yield row(f"`{name}`", value, default, meaning(field))


if __name__ == "__main__":
    sys.exit(main())
