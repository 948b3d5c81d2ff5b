"""Paths as people give them, and as the database has them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.label_sources import labels_folder

if TYPE_CHECKING:
    from daemon.config import Loaded


def absolute(path: str) -> bytes:
    """Return the absolute path as the bytes that identify it; links are not followed."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  (`Path.resolve` follows links)


def source_folders(loaded: "Loaded") -> list[Path]:
    """Return the folders that are watched: those of sources, and the labels folder if it is
    there, as absolute paths."""
    named = [selection.options.get("path") for selection in loaded.settings.sources]
    labels = labels_folder(loaded)
    if labels is not None and labels.is_dir():
        named.append(str(labels))
    return [
        Path(os.path.abspath(loaded.base / Path(path).expanduser()))  # noqa: PTH100
        for path in named
        if isinstance(path, str)
    ]
