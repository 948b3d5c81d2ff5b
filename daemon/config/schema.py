"""The JSON Schema of the configuration, with the options of every plugin there is."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from daemon.config.selection import Selection
from daemon.config.settings import Settings

Schema = dict[str, Any]

_TYPES = {
    "integer": "whole number",
    "string": "text",
    "null": "`null`",
    "boolean": "true or false",
    "object": "mapping",
}
_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
}


def json_schema(options: Mapping[str, Mapping[str, type[BaseModel]]]) -> Schema:
    """Describe `config.yaml` for editors; `options` is kind → plugin's name → its options."""
    schema = Settings.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for kind, plugins in options.items():
        variants = [_variant(kind, name, model, definitions) for name, model in plugins.items()]
        definitions[kind] = {"oneOf": [_names(plugins), *variants]}
    linked: Schema = _linked(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **linked}


def _names(plugins: Mapping[str, type[BaseModel]]) -> Schema:
    """Allow the bare name of each plugin that needs no option."""
    return {
        "enum": [
            name
            for name, model in plugins.items()
            if not any(field.is_required() for field in model.model_fields.values())
        ]
    }


def _variant(kind: str, name: str, model: type[BaseModel], definitions: Schema) -> Schema:
    """Describe the mapping of one plugin's name and options."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{kind}.{name}.{{model}}")
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[f"{kind}.{name}.{inner}"] = definition
    return {
        "type": "object",
        "title": name,
        "properties": {"name": {"const": name}, **schema.get("properties", {})},
        "required": ["name", *schema.get("required", [])],
        "additionalProperties": False,
    }


def _linked(schema: Any) -> Any:
    """Link each selection to its kind's plugins, and write its default as people do."""
    match schema:
        case {"x-kind": str(kind), **rest}:
            return {**_linked(rest), "$ref": f"#/$defs/{kind}"}
        case {"name": str(name), "options": dict(options)}:
            return Selection(name, options).written()
        case dict():
            return {key: _linked(value) for key, value in schema.items()}
        case list():
            return [_linked(value) for value in schema]
    return schema


def in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say in words what a JSON Schema accepts."""
    match schema:
        case {"$ref": str(link)}:
            name = link.rpartition("/")[2]
            if name in definitions:
                return in_words(definitions[name], definitions)
            return f"a {name.removesuffix('s').replace('_', ' ')}".replace("a e", "an e")
        case {"anyOf": list(choices)}:
            return " or ".join(dict.fromkeys(in_words(each, definitions) for each in choices))
        case {"enum": list(words)}:
            return ", ".join(f"`{word}`" for word in words)
        case {"const": word}:
            return f"`{word}`"
        case {"type": "array", "items": dict(items)}:
            return f"list of: {in_words(items, definitions)}"
        case {"format": "path"}:
            return "path"
        case {"type": list(types)}:
            return " or ".join(_TYPES.get(str(each), str(each)) for each in types)
    type_ = str(schema.get("type", "anything"))
    return _TYPES.get(type_, type_) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    """Say the range of a number."""
    said = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return f" {' '.join(said)}" if said else ""
