"""The `folder` source: images that people and programs put into a folder."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from daemon.contracts import ConfigPath, Factory, Intake, Options, Source
from daemon.hookspecs import hookimpl
from plugins.sources._root import Root
from plugins.sources._rules import Rules
from plugins.sources._walk import Tree, Walk

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    """Read `10s`, `5m`, `1h` or `1d` as seconds; anything else is left to pydantic."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
    if not found:
        raise ValueError(f"{value!r} is no duration: write for example 30s, 10m or 1h")
    return float(found[1]) * UNITS[found[2]]


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0.1),
    WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "10m", "1h"]}),
]


class FolderOptions(Options):
    """Which folder, what of it, and how closely it is watched."""

    path: ConfigPath = Field(description="The folder; a relative path counts from this file.")
    title: str = Field(
        default="", description="Its name in `results --source`; by default the path as written."
    )
    recursive: bool = Field(default=True, description="Whether folders inside it are watched too.")
    create: bool = Field(
        default=True, description="Whether it is made at start; false suits a mount point."
    )
    watch: Literal["auto", "inotify", "polling"] = Field(
        default="auto",
        description="How changes are noticed; auto polls network file systems only.",
    )
    rescan: Duration = Field(
        default=600.0, description="Time between two full listings behind inotify."
    )
    poll_every: Duration = Field(
        default=10.0, description="Time between two full listings where inotify is not used."
    )
    include: tuple[str, ...] = Field(
        default=(), description="Patterns of the files wanted; none means all."
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="Patterns of files and folders left out."
    )
    temporary_names: bool = Field(
        default=True, description="Whether the usual names of unfinished files are left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("title") in (None, "") and "path" in values:
            return {**values, "title": str(values["path"])}
        return values


class FolderSource:
    """Follows one folder with inotify or by polling; a full listing is the truth behind both."""

    def __init__(self, options: FolderOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.title = options.title
        self.root: Path | None = options.path
        self._options = options
        self._clock = clock
        rules = Rules(options.include, options.ignore, options.temporary_names)
        self._tree = Tree(os.fsencode(options.path), rules, options.recursive)

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """Report until `stop` is set; a root that is missing is waited for."""
        # watchdog takes long to import, and listing plugins needs none of it.
        from plugins.sources._follow import Follower, Pace

        pace = Pace(self._options.watch, self._options.rescan, self._options.poll_every)
        root = self._root(intake.recall())
        Follower(self._tree, root, pace, intake, stop, self._clock).run()

    def scan(self, intake: Intake, below: Sequence[Path] = ()) -> None:
        """Report what is there now; raises the alarm where the folder is gone.

        What is named in `below` is judged by the same rules, counted from the folder. Raises
        `ClassifydError` in the end where a folder in it cannot be read.
        """
        root = self._root(intake.recall())
        trouble = root.trouble()
        intake.alarm(trouble)
        if trouble is not None:
            return
        for path in below:
            for chunk in self._tree.part(os.fsencode(path)):
                intake.found(chunk)
        if not below:
            walk = Walk(self._tree, self._tree.root)
            intake.listed(walk.chunks(), lambda: walk.complete and root.trouble() is None)
            walk.require_all()

    def holds(self, path: Path) -> bool:
        """Tell whether the path is the folder or in it; if not recursive, directly in it."""
        folder = self._options.path
        if self._options.recursive:
            return path.is_relative_to(folder)
        return path == folder or (path.parent == folder and not path.is_dir())

    def _root(self, identity: str | None) -> Root:
        root = Root(self._options.path, identity)
        if self._options.create:
            root.create()
        return root


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Offer the watched folder."""
    return [Factory("folder", FolderSource, FolderOptions, "images put into a watched folder")]
