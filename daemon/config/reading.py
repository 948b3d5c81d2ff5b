"""Reads a configuration file into plain data, and remembers on which line each key stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from daemon.errors import ConfigError

_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"})

_MOST_KEYS = 100_000

Key = tuple[str | int, ...]
"""The way to a value: `("sources", 0, "path")` for `sources.0.path`."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and the line (from 1) of each of its keys and list items."""

    data: dict[str, Any]
    lines: dict[Key, int]


def dotted(key: Key) -> str:
    """Write a key as people do: `sources.0.path`."""
    return ".".join(map(str, key))


def holds(data: object, step: str | int) -> bool:
    """Tell whether one step of a key leads on into `data`."""
    if isinstance(data, list | tuple):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def read(path: Path) -> Document:
    """Read a YAML file; an empty one has no keys. Raises `ConfigError`."""
    loader = yaml.SafeLoader(_text(path))
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, {})
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1
            raise ConfigError(f"{path}:{line}: expected keys with values, such as `batch:`")
        lines = dict(islice(_lines(node, (), path, ()), _MOST_KEYS))
        if len(lines) == _MOST_KEYS:
            raise ConfigError(f"{path}: its aliases (`*name`) make {_MOST_KEYS:,} keys or more")
        return Document(loader.construct_document(node), lines)
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_error(path, error)) from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply; no key is more than a few deep") from None
    except ValueError as error:
        raise ConfigError(f"{path}: holds an impossible date: {error}") from None
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """Read one value written as YAML; raises `ValueError`."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or str(error)) from None


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
        yaml.reader.Reader(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save it in that encoding") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: holds a control character; remove it") from None
    return text


def _lines(
    node: yaml.Node, key: Key, path: Path, above: tuple[yaml.Node, ...]
) -> Iterator[tuple[Key, int]]:
    if node in above:
        line = node.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: {dotted(key)}: an alias that contains itself")
    for name, named_at, child in _children(node, key, path):
        yield (*key, name), named_at.start_mark.line + 1
        yield from _lines(child, (*key, name), path, (*above, node))


def _children(
    node: yaml.Node, key: Key, path: Path
) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield number, item, item
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for name, value in node.value:
            text, line = str(name.value), name.start_mark.line + 1
            if name.tag not in _KEY_TAGS:
                raise ConfigError(f"{path}:{line}: {text}: is no word; write the key in quotes")
            if text in seen:
                again = dotted((*key, text))
                raise ConfigError(
                    f"{path}:{line}: {again}: is there twice, first on line {seen[text]}"
                )
            seen[text] = line
            yield text, name, value


def _syntax_error(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    problem = getattr(error, "problem", None) or str(error)
    if "'\\t'" in problem:
        return f"{where}: a tab in the indentation; YAML takes only spaces there"
    if isinstance(error, yaml.composer.ComposerError) and "single document" in str(error):
        return f"{where}: a second document (`---`) begins here; only one is read"
    return f"{where}: is not valid YAML: {problem}"
