"""Where labelled contents lie now: where they were last seen, or in a folder trained on before."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from daemon.training.collect import Progress


def locate(
    paths: Mapping[str, Sequence[Path]], folders: Sequence[Path], progress: Progress
) -> dict[str, Path]:
    """Return a file for each content (SHA-256) of `paths` that has one.

    Contents without a file at their `paths` are looked for in `folders`, whose files are then all
    hashed; `progress` is told of that as the stage `find`.
    """
    found = {}
    for sha256, candidates in paths.items():
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            found[sha256] = path
    lost = paths.keys() - found.keys()
    files = sorted(_files(folders)) if lost else []
    for done, path in enumerate(files, 1):
        if (sha256 := _hash(path)) in lost:
            found[sha256] = path
        progress("find", done, len(files))
    return found


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for at, _, names in os.walk(folder):
            yield from (Path(at, name) for name in names if not name.startswith("."))


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # as good as missing, and counted so
        return ""
