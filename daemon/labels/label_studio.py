"""Label Studio's JSON export: a list of tasks, each with an image and its annotations.

A task's image is named by a URL of the Label Studio server. `/data/local-files/?d=PATH` names a
file below the server's document root, `/data/upload/PROJECT/HASH-NAME` one that was uploaded.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from daemon.errors import UsageError
from daemon.labels.lines import Line, make_line, read_text

_UPLOADED = re.compile(r"[0-9a-f]{8}-")


def read_label_studio(file: Path, root: Path) -> Iterator[Line]:
    """Yield the choices of an export; images are looked for below `root`. Raises `UsageError`.

    Skipped tasks have no label. Of one person's annotations of a task the latest counts.
    """
    for number, task in enumerate(_tasks(file), 1):
        where = f"{file}: task {task.get('id', number)}"
        image = _image(task, where)
        candidates = tuple(dict.fromkeys(_candidates(image, root, where)))
        for annotation in _latest(_objects(task, "annotations", where)):
            who = _person(annotation.get("completed_by"))
            when = annotation.get("updated_at") or annotation.get("created_at")
            if not isinstance(when, str | None):
                raise UsageError(f"{where}: its time {when!r} is no text")
            for choice in _choices(annotation, where):
                yield make_line(where, image, candidates, choice, who, when)


def _tasks(file: Path) -> list[dict[str, Any]]:
    text = read_text(file)
    try:
        tasks = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}:{error.lineno}: is not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond all measure
        raise UsageError(f"{file}: is no Label Studio export ({error})") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UsageError(f"{file}: is no Label Studio export, which is a list of tasks")
    return tasks


def _image(task: Mapping[str, Any], where: str) -> str:
    data = task.get("data")
    if not isinstance(data, dict):
        raise UsageError(
            f"{where}: has no `data`; export from Label Studio as JSON, not as JSON-MIN"
        )
    texts = {name: value for name, value in data.items() if isinstance(value, str) and value}
    image = texts.get("image") or next(iter(texts.values()), None)
    if image is None:
        raise UsageError(f"{where}: names no image under `data`")
    return image


def _candidates(image: str, root: Path, where: str) -> Iterator[Path]:
    """Yield where the image may be, the likeliest first."""
    try:
        url = urlsplit(image)
    except ValueError as error:
        raise UsageError(f"{where}: {image!r} is no address of an image ({error})") from error
    asked = parse_qs(url.query).get("d")
    path = asked[0] if asked else unquote(url.path)
    name = path.rpartition("/")[2]
    if not asked and not url.netloc and not path.startswith("/data/"):
        yield Path(root, path)
    yield root / path.removeprefix("/data/").lstrip("/")
    yield root / name
    if _UPLOADED.match(name):
        yield root / name[9:]


def _objects(of: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    """Return a list of objects that Label Studio leaves out where it is empty."""
    found = of.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"{where}: its `{name}` are no list of objects")
    return found


def _latest(annotations: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    latest: dict[str | None, Mapping[str, Any]] = {}
    for annotation in annotations:
        person = _person(annotation.get("completed_by"))
        before = latest.get(person, {})
        if str(annotation.get("updated_at", "")) >= str(before.get("updated_at", "")):
            latest[person] = annotation
    return (each for each in latest.values() if not each.get("was_cancelled"))


def _person(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return None if completed_by is None else str(completed_by)


def _choices(annotation: Mapping[str, Any], where: str) -> Iterator[str]:
    for result in _objects(annotation, "result", where):
        if result.get("type") == "choices":
            value = result.get("value")
            found = value.get("choices") if isinstance(value, dict) else None
            if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
                raise UsageError(f"{where}: its choices are no list of texts")
            yield from found
