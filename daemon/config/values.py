"""Types of single settings that need more than a type: how people write them, and their range."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from daemon.options import ConfigPath, possible_path

_SQLITE_URL = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?#]+)")
_VERSION_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHOICE = re.compile(r"\w+")


def from_base(text: str, info: ValidationInfo) -> str:
    """Return a path as an absolute one, counted from the configuration file's folder."""
    base = (info.context or {}).get("base", Path())
    return str(Path(base, Path(text).expanduser()).absolute())


def _database(text: str, info: ValidationInfo) -> str:
    if text.startswith("sqlite"):
        if not (url := _SQLITE_URL.fullmatch(text)):
            raise ValueError("must be the plain path of a file for SQLite")
        text = url["path"]
    if "://" in text:
        return text
    if text == ":memory:":
        raise ValueError("must be the path of a file, since one in memory forgets everything")
    path = from_base(text, info)
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError("must be the path of a file, not of a folder or device")
    return path


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError("must be a folder, not a file")
    return path


def _weights(text: str, info: ValidationInfo) -> str:
    return text if _CHOICE.fullmatch(text) else from_base(text, info)


def _plugin(text: str, info: ValidationInfo) -> str:
    path = from_base(text, info)
    is_path = "/" in text or text.endswith(".py") or Path(path).is_dir()
    return path if is_path else text


def _image_size(value: object) -> tuple[int, int] | None:
    match value:
        case None:
            return None
        case int(side) if _is_side(side):
            return side, side
        case [int(height), int(width)] if _is_side(height) and _is_side(width):
            return height, width
    raise ValueError("must be null, a side or [height, width], 16 to 4096 pixels")


def _is_side(pixels: int) -> bool:
    return not isinstance(pixels, bool) and 16 <= pixels <= 4096


def _threads(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 256:
        return value
    raise ValueError("must be auto or a whole number from 1 to 256")


def _some_bytes(size: ByteSize) -> ByteSize:
    if not 1_000 <= size <= 100_000_000_000:
        raise ValueError("must be from 1KB to 100GB")
    return size


def _some_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    if not formats:
        raise ValueError("must be a list of at least one format")
    return formats


def _version_name(name: str | None) -> str | None:
    if name is not None and not _VERSION_NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 100 letters, digits, dots, dashes or underscores, "
            "a letter or digit first, and no number"
        )
    return name


Text = Annotated[str, Field(min_length=1)]

Database = Annotated[Text, BeforeValidator(possible_path), AfterValidator(_database)]
"""An absolute path of an SQLite file, or the SQLAlchemy URL of another database."""

StateFolder = Annotated[ConfigPath, AfterValidator(_folder)]
"""A folder, there already or to be made."""

LabelsFolder = Annotated[
    Text | None, WithJsonSchema({"anyOf": [{"format": "path"}, {"type": "null"}]})
]
"""A folder as written (the plugin that watches it counts from the configuration's), or null."""

Weights = Annotated[Text, AfterValidator(_weights)]
"""A backbone's weights choice (one word), or the absolute path of a file."""

PluginLocation = Annotated[Text, AfterValidator(_plugin)]
"""A module's name, or the absolute path of a `.py` file or a folder of them."""

ImageSize = Annotated[
    tuple[int, int] | None,
    PlainValidator(_image_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "null"},
                {"type": "integer", "minimum": 16, "maximum": 4096},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 16, "maximum": 4096},
                    "minItems": 2,
                    "maxItems": 2,
                },
            ]
        }
    ),
]
"""Height and width in pixels; one number means both."""

Threads = Annotated[
    int | Literal["auto"],
    PlainValidator(_threads),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]}
    ),
]

Bytes = Annotated[
    ByteSize,
    AfterValidator(_some_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
]
"""A number of bytes; `200MB` and `64MiB` are understood."""

Format = Literal["jpeg", "png", "webp", "avif", "gif", "bmp", "tiff", "heic"]

Formats = Annotated[tuple[Format, ...], AfterValidator(_some_formats)]


def _schedule(text: str | None) -> str | None:
    from daemon.learning.schedule import read_every

    if text is not None:
        read_every(text)
    return text


Schedule = Annotated[str | None, AfterValidator(_schedule)]
"""A duration or a cron expression, as `daemon.learning.schedule` reads them."""


def _age(text: str | None) -> str | None:
    from daemon.learning.schedule import read_duration

    if text is not None and read_duration(text) is None:
        raise ValueError("must be a duration such as 12h, 30d or 26w, or null")
    return text


Age = Annotated[str | None, AfterValidator(_age)]
"""How long something is kept, as `daemon.learning.schedule` reads durations; null: for ever."""


def _room(size: ByteSize | None) -> ByteSize | None:
    if size is not None and size < 0:
        raise ValueError("must be a size such as 500MB, or null")
    return size


Room = Annotated[
    ByteSize | None,
    AfterValidator(_room),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
]
"""A number of bytes, such as `500MB`, or null."""

Confidence = Annotated[float, Field(strict=True, ge=0, le=1)] | None

Novelty = Annotated[float, Field(strict=True, ge=0, le=2)] | None

VersionName = Annotated[str | None, AfterValidator(_version_name)]


def _host(name: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z:._%-]+", name):
        raise ValueError("must be an address, such as 127.0.0.1 or ::1, or the name of a machine")
    return name


Host = Annotated[str, AfterValidator(_host)]
"""An address or the name of a machine."""


def _port(value: object) -> int | None:
    match value:
        case None:
            return None
        case int(port) if not isinstance(port, bool) and 1 <= port <= 65_535:
            return port
    raise ValueError("must be a whole number from 1 to 65535, or null")


Port = Annotated[
    int | None,
    PlainValidator(_port),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65_535}, {"type": "null"}]}
    ),
]


def _empty_section(value: object) -> object:
    return {} if value is None else value


Section = BeforeValidator(_empty_section)
"""A section of which every key is commented out is a section of defaults."""
