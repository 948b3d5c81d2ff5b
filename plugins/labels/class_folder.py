"""The `class_folder` label source: a file put into `labels/cat` is labelled `cat`."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field, model_validator

from daemon.contracts import Factory, FileNews, LabelSource, Source, Word, Words
from daemon.hookspecs import hookimpl
from daemon.labels.class_name import class_name
from plugins.sources.folder import FolderOptions, FolderSource

log = logging.getLogger(__name__)


class ClassFolderOptions(FolderOptions):
    """Which folder, and how closely it is watched; its sub-folders are classes."""

    title: str = Field(
        default="labels", description="Its name as a source of images and of labels."
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Leave the title as it is, so that labels keep their source when the folder moves."""
        return values


class ClassFolder:
    """A watched folder: the first folder on the way to a file is its class.

    A file that lies beside the class folders has no label, and is classified nevertheless.
    """

    def __init__(self, options: ClassFolderOptions) -> None:
        self.title = options.title
        self.folder: Source | None = FolderSource(options)
        self._root = os.fsencode(options.path).rstrip(b"/") + b"/"
        self._refused: set[str] = set()

    def since(self, cursor: str | None, news: Sequence[FileNews]) -> Words:
        """Say the class of each file that is there, and take back that of each other one."""
        return Words(tuple(self._words(news)), cursor)

    def _words(self, news: Iterable[FileNews]) -> Iterator[Word]:
        for file in news:
            if not file.is_there:
                yield Word(file.path, None)
            elif label := self._class_of(file.path):
                yield Word(file.path, label)

    def _class_of(self, path: bytes) -> str | None:
        folder, below, _ = path.removeprefix(self._root).partition(b"/")
        if not below or not path.startswith(self._root):
            return None
        name = os.fsdecode(folder)
        try:
            return class_name(name)
        except ValueError as error:
            if name not in self._refused:
                log.warning("%r in %s gives no labels: %s", folder, self.title, error)
            self._refused.add(name)
            return None


@hookimpl
def register_label_sources() -> Iterable[Factory[LabelSource]]:
    """Offer the folder of class folders."""
    summary = "a watched folder whose sub-folders are classes"
    return [Factory("class_folder", ClassFolder, ClassFolderOptions, summary)]
