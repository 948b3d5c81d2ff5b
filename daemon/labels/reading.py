"""Labels out of whatever a user names: a labels file of some format, or class folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import UsageError
from daemon.labels.label_studio import read_label_studio
from daemon.labels.lines import Line, make_line, read_csv, read_jsonl


def read_labels(place: Path, root: Path | None = None) -> list[Line]:
    """Return all labels of a labels file (by its ending) or of class folders.

    `root` is where the images of a Label Studio export are; by default beside it. Raises
    `UsageError` for the first thing that is wrong.
    """
    if place.is_dir():
        lines = list(_class_folders(place))
    else:
        lines = list(_labels_file(place, root or place.absolute().parent))
    if not lines:
        raise UsageError(f"{place}: has no labels in it")
    return lines


def _labels_file(file: Path, root: Path) -> Iterator[Line]:
    match file.suffix.lower():
        case ".csv" | ".tsv":
            return read_csv(file)
        case ".jsonl" | ".ndjson":
            return read_jsonl(file)
        case ".json":
            return read_label_studio(file, root)
    raise UsageError(
        f"{file}: is of no known kind; name a .csv, a .jsonl, Label Studio's .json or a folder "
        "of class folders"
    )


def _class_folders(folder: Path) -> Iterator[Line]:
    """Yield every file below a class folder; hidden files and folders are passed over."""
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.name.startswith("."):
            for path in _files(place):
                shown = str(path.relative_to(folder))
                yield make_line(str(place), shown, (path.absolute(),), place.name, None, None)


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(at, name) for name in sorted(names) if not name.startswith("."))
