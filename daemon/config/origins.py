"""Where a value is written: a line of the file, a variable of the environment, or nowhere."""

from collections.abc import Mapping
from typing import Any

from daemon.config.reading import Key, holds

Places = Mapping[Key, str]
"""What the user wrote and where: `config.yaml:12`, or the name of a variable."""

DEFAULT = "default"


def place_of(key: Key, places: Places) -> str:
    """Return where `key`, or else the nearest key around it, is written."""
    for length in range(len(key), 0, -1):
        if place := places.get(key[:length]):
            return place
    return "configuration"


def origin_of(key: Key, data: Any, places: Places) -> str:
    """Return the place of a value that the user gave, else `default`."""
    for step in key:
        if not holds(data, step):
            return DEFAULT
        data = data[step]
    return place_of(key, places)


def located(key: str, text: str, origins: Mapping[str, str]) -> str:
    """Say something of a dotted key, behind the place where it, or else what is around it, is
    written; `origins` are those of `daemon.config.Loaded`."""
    around = key
    while around not in origins and "." in around:
        around = around.rpartition(".")[0]
    place = origins.get(around, DEFAULT)
    return f"{key}: {text}" if place == DEFAULT else f"{place}: {key}: {text}"
