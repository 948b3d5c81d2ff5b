"""Puts file, environment and defaults together into settings whose every value has an origin."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.environment import FILE_VARIABLE, overrides
from daemon.config.origins import Places, origin_of, place_of
from daemon.config.problems import problems
from daemon.config.reading import Document, Key, dotted, read
from daemon.config.settings import Settings
from daemon.errors import ConfigError

DEFAULT_NAME = "config.yaml"
DEFAULT_TEMPLATE = Path(__file__).parents[1] / "default.yaml"
"""The commented default configuration, shipped with the program."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where they are from.

    `path` is the file, None where there was none to read; `base` is the folder that relative
    paths count from; `origins` maps each dotted key (options of plugins included) to
    `config.yaml:12`, the name of a variable, or `default`.
    """

    settings: Settings
    path: Path | None
    base: Path
    origins: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str], required: bool = True) -> Loaded:
    """Read the configuration file and the environment's overrides.

    Without `path`, `CLASSIFYD_CONFIG` names the file, else it is `config.yaml` in the current
    folder; only that last one may be absent, and only where it is not `required`. Raises
    `ConfigError` with every problem at once.
    """
    named = path or _named_file(environ)
    file = named or Path(DEFAULT_NAME)
    if not file.exists():
        if required or named:
            raise ConfigError(_missing(file))
        return _loaded(None, Path.cwd(), Document({}, {}), environ)
    return _loaded(file, file.absolute().parent, read(file), environ)


def _named_file(environ: Mapping[str, str]) -> Path | None:
    name = environ.get(FILE_VARIABLE)
    return Path(name).expanduser() if name else None


def _missing(file: Path) -> str:
    return (
        f"{file}: no such configuration file; name one with --config FILE, or have one made: "
        "classifyd init"
    )


def _loaded(
    path: Path | None, base: Path, document: Document, environ: Mapping[str, str]
) -> Loaded:
    data = document.data
    places = {key: f"{path}:{line}" for key, line in document.lines.items()}
    for key, variable, value in overrides(environ, Settings):
        if _put(data, key, value):
            places = {other: at for other, at in places.items() if other[: len(key)] != key}
            places[key] = variable
    settings = _settings(data, base, places)
    origins = {dotted(key): origin_of(key, data, places) for key, _ in settings.items()}
    return Loaded(settings, path, base, origins)


def _put(data: dict[str, Any], key: Key, value: object) -> bool:
    """Set a value in nested mappings; False where a section is wrongly something else."""
    for section in key[:-1]:
        if data.get(str(section)) is None:
            data[str(section)] = {}
        inner = data[str(section)]
        if not isinstance(inner, dict):
            return False
        data = inner
    data[str(key[-1])] = value
    return True


def _settings(data: dict[str, Any], base: Path, places: Places) -> Settings:
    try:
        return Settings.model_validate(data, context={"base": base})
    except ValidationError as error:
        order = list(places)
        found = problems(error, Settings, data)
        ranked = sorted(
            found, key=lambda problem: order.index(problem.key) if problem.key in places else -1
        )
        raise ConfigError(
            "\n".join(f"{place_of(p.key, places)}: {dotted(p.key)}: {p.text}" for p in ranked)
        ) from None
