"""Paths as people give them, and as the database has them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.config import Loaded


def absolute(path: str) -> bytes:
    """Return the absolute path as the bytes that identify it; links are not followed."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  (`Path.resolve` follows links)


def source_folders(loaded: "Loaded") -> list[Path]:
    """Return the folders that the configured sources name, as absolute paths."""
    settings = loaded.settings
    named = [selection.options.get("path") for selection in settings.sources]
    named.append(settings.labels.folder)
    return [
        Path(os.path.abspath(loaded.base / Path(path).expanduser()))  # noqa: PTH100
        for path in named
        if isinstance(path, str)
    ]
