"""How configuration chooses a plugin: its name, or a mapping of its name and options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema


@dataclass(frozen=True, slots=True)
class Selection:
    """One chosen plugin; the catalogue checks `options`, which are as the user wrote them."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: object) -> "Selection":
        """Read `folder` or `{name: folder, path: inbox}`; raises `ValueError`."""
        match value:
            case Selection():
                return value
            case str() if value:
                return cls(value)
            case {"name": str(name), **options} if name:
                return cls(name, {str(key): option for key, option in options.items()})
        raise ValueError("must be a plugin's name, or a mapping of `name` and its options")

    def written(self) -> str | dict[str, Any]:
        """Return it as configuration has it: the bare name when there are no options."""
        return {"name": self.name, **self.options} if self.options else self.name


_Selected = Annotated[
    Selection, PlainValidator(Selection.parse), PlainSerializer(Selection.written)
]

AUTO = "auto"
"""In place of a head's name: the training strategy chooses it; of a runtime's: the fastest."""

# The marker `x-kind` is replaced by the schema of that kind's plugins: see `daemon.config.schema`.
BackboneChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "backbones"})]
HeadChoice = Annotated[_Selected, WithJsonSchema({"anyOf": [{"const": AUTO}, {"x-kind": "heads"}]})]
RuntimeChoice = Annotated[
    _Selected, WithJsonSchema({"anyOf": [{"const": AUTO}, {"x-kind": "runtimes"}]})
]
SourceChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "sources"})]
LabelSourceChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "label_sources"})]
SinkChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "sinks"})]
RetrainerChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "retrainers"})]
GateChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "gates"})]
ExecutorChoice = Annotated[_Selected, WithJsonSchema({"x-kind": "executors"})]
