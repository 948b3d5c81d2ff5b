"""Overrides from the environment: `CLASSIFYD_BATCH__MAX_SIZE=8` for `batch.max_size`."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from daemon.config.problems import known_keys, nearest
from daemon.config.reading import Key, parse_value
from daemon.errors import ConfigError

PREFIX = "CLASSIFYD_"
FILE_VARIABLE = f"{PREFIX}CONFIG"


def variable(key: Key) -> str:
    """Return the name of the variable that overrides `key`."""
    return PREFIX + "__".join(map(str, key)).upper()


def overrides(environ: Mapping[str, str], model: type[BaseModel]) -> Iterator[tuple[Key, str, Any]]:
    """Yield key, variable and value, read as YAML; raises `ConfigError` for unknown variables."""
    keys = {variable(key): key for key in known_keys(model)}
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    unknown = sorted(set(ours) - set(keys) - {FILE_VARIABLE})
    if unknown:
        raise ConfigError("\n".join(_unknown(name, [*keys, FILE_VARIABLE]) for name in unknown))
    for name, text in ours.items():
        if name != FILE_VARIABLE:
            yield keys[name], name, _value(name, text)


def _unknown(name: str, known: list[str]) -> str:
    inside = [other for other in known if name.startswith(f"{other}__")]
    if inside:
        return f"{name}: goes too deep; give {inside[0]} the whole value, written as YAML"
    return f"{name}: no setting has this variable{nearest(name, known)}"


def _value(name: str, text: str) -> Any:
    try:
        return parse_value(text)
    except ValueError as error:
        raise ConfigError(f"{name}: is not a YAML value: {error}") from None
