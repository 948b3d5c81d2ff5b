"""One table of names a kind of plugin: what configuration may choose, and how it is built."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from daemon.classifier import resolve_weights, size_problem, weights_problem
from daemon.config import ModelSettings, Selection, Settings
from daemon.config.origins import located
from daemon.config.problems import Problem, nearest, problems
from daemon.config.reading import dotted
from daemon.contracts import (
    Backbone,
    Executor,
    Factory,
    Gate,
    Head,
    LabelSource,
    ParticularBackbone,
    Retrainer,
    Runtime,
    Sink,
    Source,
)
from daemon.errors import ConfigError, PluginError, WeightsError
from daemon.loader import Plugins

if TYPE_CHECKING:
    import click

T = TypeVar("T")

KINDS = (
    "backbones",
    "heads",
    "runtimes",
    "sources",
    "label_sources",
    "sinks",
    "retrainers",
    "gates",
    "executors",
)


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A factory, the plugin that registered it, and where that plugin is from."""

    factory: Factory[T]
    plugin: str
    origin: str


@dataclass(frozen=True)
class Table(Generic[T]):
    """The plugins of one kind by name; `broken` are plugins that failed, and why."""

    kind: str
    entries: Mapping[str, Entry[T]]
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The kind in the singular: `backbone`."""
        return _singular(self.kind)

    def options(self, selection: Selection, base: Path) -> BaseModel:
        """Return a selection's options, paths counting from `base`; raises `PluginError`."""
        lines = [self._sentence(selection.name, each) for each in self.problems(selection, base)]
        if lines:
            raise PluginError("\n".join(lines))
        return self._validated(selection, base)

    def build(self, selection: Selection, base: Path) -> T:
        """Build the selected plugin; raises `PluginError` for its name or its options."""
        options = self.options(selection, base)
        return self.entries[selection.name].factory.build(options)

    def problems(self, selection: Selection, base: Path) -> Iterator[Problem]:
        """Yield what is wrong with a selection, without building it."""
        if selection.name not in self.entries:
            yield Problem((), self._unknown(selection.name))
            return
        try:
            self._validated(selection, base)
        except ValidationError as error:
            model = self.entries[selection.name].factory.options
            yield from problems(error, model, selection.options)

    def _validated(self, selection: Selection, base: Path) -> BaseModel:
        model = self.entries[selection.name].factory.options
        context = {"base": base, "unknown_peer": self._unknown_peer}
        return model.model_validate(dict(selection.options), context=context)

    def _unknown_peer(self, name: str) -> str | None:
        return None if name in self.entries else self._unknown(name)

    def _sentence(self, name: str, problem: Problem) -> str:
        if name not in self.entries:
            return problem.text
        where = f": {dotted(problem.key)}" if problem.key else ""
        return f"{self.word} {name}{where}: {problem.text}"

    def _unknown(self, name: str) -> str:
        known = ", ".join(sorted(self.entries)) or "none"
        text = f"there is no {self.word} {name}{nearest(name, self.entries)} (known: {known})"
        if self.broken:
            failed = "; ".join(f"{plugin}: {reason}" for plugin, reason in self.broken.items())
            text += f"; broken plugins: {failed}"
        return text


class Catalogue:
    """All plugins by kind and name, made once from what the loader found.

    Raises `PluginError` when two plugins register one name, or a built-in one is broken;
    a stranger's broken plugin is left out and stands in `plugins.broken`.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.backbones: Table[Backbone] = self._table("backbones")
        self.heads: Table[Head] = self._table("heads")
        self.runtimes: Table[Runtime] = self._table("runtimes")
        self.sources: Table[Source] = self._table("sources")
        self.label_sources: Table[LabelSource] = self._table("label_sources")
        self.sinks: Table[Sink] = self._table("sinks")
        self.retrainers: Table[Retrainer] = self._table("retrainers")
        self.gates: Table[Gate] = self._table("gates")
        self.executors: Table[Executor] = self._table("executors")

    def tables(self) -> dict[str, Table[Any]]:
        """Return every table by kind, in the order of the documentation."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def validate(
        self, settings: Settings, base: Path, origins: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Check every selection in the settings, and whether the parts of a model fit.

        `origins` (of `daemon.config.Loaded`) lets the `ConfigError` name file and line.
        """
        tables = self.tables()
        lines = [
            _line(key, problem, origins)
            for key, kind, selection in settings.selections()
            for problem in tables[kind].problems(selection, base)
        ]
        if not lines:
            found = self._misfits(settings.model, base)
            lines = [_line("model", problem, origins) for problem in found]
        if lines:
            raise ConfigError("\n".join(lines))

    def _misfits(self, model: ModelSettings, base: Path) -> Iterator[Problem]:
        """Yield what the backbone, which loads nothing yet, cannot take."""
        try:
            yield from _misfits(self.backbones.build(model.backbone, base), model)
        except Exception as error:  # a stranger's plugin may do anything
            said = f"{type(error).__name__}: {error}"
            yield Problem(
                ("backbone",), f"cannot be built ({said}); mend the plugin or take another"
            )

    def commands(self, cli: "click.Group", taken: Collection[str] = ()) -> None:
        """Add the plugins' commands to `cli`; raises `PluginError` for a name already taken."""
        import click

        owners = dict.fromkeys(taken, "the program itself")
        for plugin in self.plugins.implementing("register_commands"):
            own = click.Group()
            if self.plugins.call(plugin, "register_commands", cli=own) is None:
                continue
            for name, command in own.commands.items():
                _claim(owners, f"command {name}", name, self.plugins.describe(plugin))
                cli.add_command(command, name)

    def _table(self, kind: str) -> Table[Any]:
        entries: dict[str, Entry[Any]] = {}
        owners: dict[str, str] = {}
        for plugin, factories in self._registered(f"register_{kind}"):
            for factory in factories:
                word = f"{_singular(kind)} {factory.name}"
                _claim(owners, word, factory.name, self.plugins.describe(plugin))
                entries[factory.name] = Entry(factory, plugin, self.plugins.provenance[plugin])
        return Table(kind, entries, self.plugins.broken)

    def _registered(self, hook: str) -> Iterator[tuple[str, list[Factory[Any]]]]:
        for plugin in self.plugins.implementing(hook):
            factories = self.plugins.call(plugin, hook)
            if factories is None:
                continue
            wrong = [item for item in factories if not isinstance(item, Factory)]
            if wrong or not factories:
                got = repr(wrong[0]) if wrong else "nothing"
                self.plugins.fail(plugin, f"{hook} must return factories, got {got}")
            else:
                yield plugin, factories


def check_titles(sources: Mapping[str, Source], origins: Mapping[str, str]) -> None:
    """Raise `ConfigError` for the second of two sources of one title; `sources` are by their
    dotted keys."""
    keys: dict[str, str] = {}
    for key, source in sources.items():
        if source.title in keys:
            text = f"is called {source.title!r} like {keys[source.title]}; give it another `title`"
            raise ConfigError(located(key, text, origins))
        keys[source.title] = key


def _misfits(backbone: Backbone, model: ModelSettings) -> Iterator[Problem]:
    if model.image_size and (problem := size_problem(backbone, *model.image_size)):
        yield Problem(("image_size",), problem)
    if problem := weights_problem(backbone, model.weights):
        yield Problem(("weights",), problem)
    elif isinstance(backbone, ParticularBackbone):
        try:
            backbone.check_weights(resolve_weights(backbone, model.weights))
        except WeightsError as error:
            yield Problem(("backbone",), str(error))


def _singular(kind: str) -> str:
    return kind.removesuffix("s").replace("_", " ")


def _claim(owners: dict[str, str], what: str, name: str, owner: str) -> None:
    if name in owners:
        raise PluginError(f"{what} is registered twice: by {owners[name]} and by {owner}")
    owners[name] = owner


def _line(key: str, problem: Problem, origins: Mapping[str, str]) -> str:
    return located(".".join([key, *map(str, problem.key)]), problem.text, origins)
