"""Turns what pydantic refuses into sentences: the key, what it must be, and what is close to it.

Serves the settings and the options of plugins alike.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from daemon.config.reading import Key, dotted, holds

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "byte_size": "a size such as 200MB",
    "byte_size_unit": "a size such as 200MB",
    "dict_type": "keys with values",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "keys with values",
    "path_type": "a path",
    "string_type": "text",
    "model_attributes_type": "keys with values",
    "tuple_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong key or value; `text` says what was expected and what came instead."""

    key: Key
    text: str


def problems(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield every problem once; the branches of a union are joined with "or"."""
    found: dict[Key, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(_own_key(detail, data), []).append(detail)
    for key, details in found.items():
        yield Problem(key, _sentence(key, details, model))


def known_keys(model: type[BaseModel], prefix: Key = ()) -> Iterator[Key]:
    """Yield the way to every key of a model that is not itself a section."""
    for name, field in model.model_fields.items():
        key = (*prefix, field.alias or name)
        section = _section(field.annotation)
        yield from known_keys(section, key) if section else [key]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the closest known word, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value: object) -> str:
    """Write a received value as the file has it, shortened."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _own_key(detail: ErrorDetails, data: Any) -> Key:
    """Cut off what pydantic appends to a location to tell the branches of a union apart."""
    if detail["type"] == "missing":
        return detail["loc"]
    key: Key = ()
    for step in detail["loc"]:
        if not holds(data, step):
            break
        key, data = (*key, step), data[step]
    return key


def _sentence(key: Key, details: Sequence[ErrorDetails], model: type[BaseModel]) -> str:
    match details[0]["type"]:
        case "extra_forbidden":
            return f"unknown key{_similar_key(key, model)}"
        case "missing":
            return "is required and has no default"
    expected = " or ".join(dict.fromkeys(map(_expectation, details)))
    expected = expected.replace(" or must ", " or ")
    received = details[0]["input"]
    if _is_secret(key, model):
        return expected
    words = [word for detail in details for word in _literals(detail)]
    return f"{expected}, got {shown(received)}{nearest(str(received), words)}"


def _expectation(detail: ErrorDetails) -> str:
    if wanted := _EXPECTED.get(detail["type"]):
        return f"must be {wanted}"
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return re.sub(r"^\w+ should ", "must ", text)


def _literals(detail: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))


def _similar_key(key: Key, model: type[BaseModel]) -> str:
    parent: type[BaseModel] | None = model
    for step in key[:-1]:
        field = parent.model_fields.get(str(step)) if parent else None
        parent = _section(field.annotation) if field else None
    name, siblings = str(key[-1]), list(parent.model_fields) if parent else []
    elsewhere = [dotted(known) for known in known_keys(model) if known[-1] == name]
    if hint := nearest(name, siblings):
        return hint
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(siblings)}" if siblings else "; it takes no keys"


def _is_secret(key: Key, model: type[BaseModel]) -> bool:
    """Tell whether a value may not be shown."""
    field = model.model_fields.get(str(key[0])) if key else None
    return field is not None and SecretStr in _parts(field.annotation)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _section(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
