"""Finds plugins and registers them: built-in ones, installed ones, and those configuration names.

All go through one pluggy manager. A stranger's plugin that cannot be imported is reported and
the rest load; a mistake that would silently change what runs (two plugins of one name, a hook
nobody calls) ends the start.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from daemon import hookspecs
from daemon.config.problems import nearest
from daemon.errors import PluginError

BUILT_IN = "built-in"
ENTRY_POINT_GROUP = hookspecs.PROJECT


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plugin not yet imported: its name, where it is from, and how to get it."""

    name: str
    origin: str
    load: Callable[[], object]


class Plugins:
    """What is loaded, from where (`provenance`), and what is not and why (`broken`), by name.

    `configured` are those that the configuration names, of both.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.provenance: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.configured: set[str] = set()

    def implementing(self, hook: str) -> list[str]:
        """Name the plugins that implement a hook, in the order in which they were loaded."""
        hookimpls = getattr(self.manager.hook, hook).get_hookimpls()
        names = {implementation.plugin_name for implementation in hookimpls}
        return [name for name in self.provenance if name in names]

    def call(self, name: str, hook: str, **arguments: object) -> list[Any] | None:
        """Call the hook of one plugin by itself and return all that it returned.

        A plugin that raises is reported in `broken` and answers None; if it is a built-in one,
        `PluginError` is raised.
        """
        others = [plugin for other, plugin in self.manager.list_name_plugin() if other != name]
        try:
            answers = self.manager.subset_hook_caller(hook, others)(**arguments)
            return [item for answer in answers for item in answer]
        except Exception as error:
            self.fail(name, f"{hook}: {_reason(error)}", error)
            return None

    def fail(self, name: str, reason: str, error: BaseException | None = None) -> None:
        """Report a plugin as broken; for a built-in one raise `PluginError` instead."""
        if self.provenance[name] == BUILT_IN:
            raise PluginError(f"built-in plugin {name}: {reason}") from error
        self.broken[name] = reason

    def left_out(self) -> list[str]:
        """Return a line for each broken plugin: its name, where it is from, and why."""
        return [
            f"plugin {self.describe(name)} is left out: {reason}"
            for name, reason in self.broken.items()
        ]

    def describe(self, name: str) -> str:
        """Name a plugin and its origin, for messages."""
        return f"{name} ({self.provenance[name]})"


def load_plugins(builtin: Sequence[str], extra: Sequence[str]) -> Plugins:
    """Load the modules `builtin`, the entry points of group `classifyd`, then `extra`.

    `extra` holds names of modules and absolute paths of `.py` files or folders of them. Raises
    `PluginError` for a broken built-in, a name or plugin that is there twice, and a hook that
    does not exist.
    """
    plugins = Plugins()
    for candidate in _builtins(builtin):
        _add(plugins, candidate)
    for candidate in _installed():
        _add(plugins, candidate)
    for item in extra:
        for candidate in _named(item):
            plugins.configured.add(candidate.name)
            _add(plugins, candidate)
    return plugins


def _builtins(modules: Sequence[str]) -> Iterator[_Candidate]:
    for module in modules:
        yield _Candidate(module, BUILT_IN, partial(importlib.import_module, module))


def _installed() -> Iterator[_Candidate]:
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "entry point"
        yield _Candidate(point.name, origin, point.load)


def _named(item: str) -> Iterator[_Candidate]:
    path = Path(item)
    if not path.is_absolute():
        yield _Candidate(item, f"module {item}", partial(importlib.import_module, item))
        return
    files = sorted(path.glob("[!_]*.py")) if path.is_dir() else [path]
    for file in files:
        yield _Candidate(file.stem, f"file {file}", partial(_import_file, file))


def _import_file(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError("no such file or folder")
    name = f"classifyd_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("is no Python file; its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _add(plugins: Plugins, candidate: _Candidate) -> None:
    name = candidate.name
    if name in plugins.provenance:
        first = plugins.provenance[name]
        raise PluginError(f"plugin {name} is there twice: from {first} and {candidate.origin}")
    plugins.provenance[name] = candidate.origin
    try:
        plugin = candidate.load()
    except (Exception, SystemExit) as error:
        plugins.fail(name, _reason(error), error)
        return
    _register(plugins, name, plugin)


def _register(plugins: Plugins, name: str, plugin: object) -> None:
    if first := plugins.manager.get_name(plugin):
        raise PluginError(
            f"one plugin is registered twice: as {plugins.describe(first)} and as "
            f"{plugins.describe(name)}; drop one"
        )
    try:
        plugins.manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"plugin {plugins.describe(name)}: {error}") from error
    callers = plugins.manager.get_hookcallers(plugin) or []
    known = [hook for hook in vars(hookspecs) if hook.startswith("register_")]
    for caller in callers:
        if not caller.has_spec():
            raise PluginError(
                f"plugin {plugins.describe(name)}: there is no hook {caller.name}"
                f"{nearest(caller.name, known)}"
            )
    if not callers:
        plugins.fail(name, "has no hook; is @hookimpl missing?")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
