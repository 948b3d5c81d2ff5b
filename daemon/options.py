"""Options of plugins, and the factories that plugins are registered as."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    field_validator,
)

T = TypeVar("T")


def plain_path(path: Path) -> Path:
    """Return the absolute path without `..`, so that a file has one name; links stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (`Path.resolve` follows links)


def possible_path(value: object) -> object:
    """Refuse a text that can be no path; what else is wrong with a value is left to others."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("must be a path")
    return value


def _from_base(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path())
    return plain_path(Path(base, path.expanduser()))


ConfigPath = Annotated[Path, BeforeValidator(possible_path), AfterValidator(_from_base)]
"""A path in options or settings: `~` is expanded, a relative one counts from the configuration
file's folder (validation context `base`)."""


def _known_peer(name: str, info: ValidationInfo) -> str:
    unknown = (info.context or {}).get("unknown_peer", lambda _: None)(name)
    if unknown is not None:
        raise ValueError(unknown)
    return name


PeerName = Annotated[str, AfterValidator(_known_peer)]
"""The name of a plugin of the same kind (validation context `unknown_peer`, which says what is
wrong with a name, if anything)."""


class Options(BaseModel):
    """Base of every plugin's options: strict, frozen, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `workers: yes`, of which pydantic makes 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            raise ValueError("must be a number")
        return value


@dataclass(frozen=True, slots=True)
class Needs:
    """What a plugin does beside reading files of this machine, for the sandbox of a service.

    `writes` are folders that it writes in, `network` tells whether it talks to other machines,
    `moves_images` whether it takes images out of the folders of sources or links to them.
    """

    writes: tuple[Path, ...] = ()
    network: bool = False
    moves_images: bool = False


def no_needs(_options: Any) -> Needs:
    """Ask for nothing."""
    return Needs()


@dataclass(frozen=True)
class Factory(Generic[T]):
    """A named way to build one plugin object from its validated options.

    `name` is what configuration says; `options` is the pydantic model shown by
    `classifyd plugins NAME` and in `config schema`; `build` gets an instance of it;
    `summary` is one line for listings; `needs` tells what these options ask of the machine.
    """

    name: str
    build: Callable[[Any], T]
    options: type[Options] = Options
    summary: str = ""
    needs: Callable[[Any], Needs] = no_needs
