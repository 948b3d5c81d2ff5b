"""Labels files as people write them: CSV and JSON Lines with `path,label[,when,who]`.

A file that is wrong anywhere is refused as a whole, with the first line that is.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.clock import utc_text
from daemon.errors import UsageError
from daemon.labels.class_name import class_name

_NEEDED = ("path", "label")
_DELIMITERS = ",;\t"
# `results` and `labels export` put a ' before what a spreadsheet would take for a formula.
_GUARDED = ("'=", "'+", "'-", "'@", "'\t", "'\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One label of a labels file.

    `where` is its place (`labels.csv:7`), `path` the image as written there, `candidates` where
    the image may be, the likeliest first; `at` is UTC ISO-8601, None where the file has no time.
    """

    where: str
    path: str
    candidates: tuple[Path, ...]
    label: str
    who: str | None = None
    at: str | None = None


def read_csv(file: Path) -> Iterator[Line]:
    """Yield the labels of a CSV file with a header; raises `UsageError`."""
    text = read_text(file)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        _check_columns(names, f"{file}:1")
        for row in filter(None, rows):
            yield _line(_cells(names, row, f"{file}:{rows.line_num}"), f"{file}:{rows.line_num}")
    except csv.Error as error:
        raise UsageError(f"{file}:{rows.line_num}: is no CSV: {error}") from error


def _check_columns(names: list[str], where: str) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        found = ", ".join(filter(None, names)) or "none"
        raise UsageError(
            f"{where}: column {' and '.join(missing)} is missing (found: {found}); the first line "
            "must name the columns: path,label or path,label,when,who"
        )


def _cells(names: list[str], row: list[str], where: str) -> Mapping[str, str]:
    if len(row) != len(names):
        raise UsageError(
            f"{where}: has {len(row)} columns where the first line has {len(names)}; "
            'put a cell with a comma in it into quotes: "a, b.jpg"'
        )
    return dict(zip(names, (cell[cell.startswith(_GUARDED) :] for cell in row), strict=True))


def read_jsonl(file: Path) -> Iterator[Line]:
    """Yield the labels of a JSON Lines file; a `label` may be a list. Raises `UsageError`."""
    for number, text in enumerate(read_text(file).split("\n"), 1):
        if text.strip():
            yield from _lines(_object(text, f"{file}:{number}"), f"{file}:{number}")


def _object(text: str, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f'{where}: must be an object: {{"path": "a.jpg", "label": "cat"}}')
    for name in _NEEDED:
        if name not in found:
            raise UsageError(f"{where}: {name} is missing")
    return found


def _lines(found: Mapping[str, Any], where: str) -> Iterator[Line]:
    labels = found["label"] if isinstance(found["label"], list) else [found["label"]]
    for label in labels:
        cells = {**found, "label": label}
        for name in ("path", "label", "when", "who"):
            if not isinstance(cells.get(name) or "", str):
                raise UsageError(f"{where}: {name} must be a text, not {cells[name]!r}")
        yield _line(cells, where)


def _line(cells: Mapping[str, str | None], where: str) -> Line:
    path = (cells["path"] or "").strip()
    if not path or not path.isprintable():
        raise UsageError(f"{where}: the path {path!r} is empty or has control characters")
    return make_line(
        where, path, (from_file(where, path),), cells["label"] or "", cells.get("who"),
        cells.get("when"),
    )  # fmt: skip


def from_file(where: str, path: str) -> Path:
    """Return a path of a labels file, which counts from that file's folder."""
    return Path(where.rpartition(":")[0]).absolute().parent / path


def make_line(
    where: str,
    path: str,
    candidates: tuple[Path, ...],
    label: str,
    who: str | None,
    when: str | None,
) -> Line:
    """Check what a labels file says; raises `UsageError` that names the place."""
    try:
        return Line(where, path, candidates, class_name(label), who or None, _time(when))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _time(text: str | None) -> str | None:
    """Read an ISO time, UTC where it has no zone."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text.strip())
        return utc_text((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time; write 2026-05-01, 2026-05-01T18:30 or 2026-05-01T18:30Z"
        ) from None


def read_text(file: Path) -> str:
    """Read a labels file as UTF-8 text; raises `UsageError`."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{file}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
