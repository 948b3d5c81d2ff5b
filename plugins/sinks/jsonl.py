"""The `jsonl` sink: one JSON object a line, appended to a file that other programs follow."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, field_validator

from daemon.contracts import ConfigPath, Factory, Needs, Sink
from daemon.domain import Event
from daemon.durable import make_folder, sync
from daemon.hookspecs import hookimpl
from plugins.sinks._wanted import EventOptions, as_json

BLOCK = 65_536
START = b'{"event_id": '


class JsonlOptions(EventOptions):
    """Where the lines go, and when a new file is begun."""

    path: ConfigPath = Field(description="The file; its folder is made when it is missing.")
    max_mb: float | None = Field(
        default=None,
        gt=0,
        description="Past this size (megabytes) the file is renamed to PATH.1 and begun anew.",
    )

    @field_validator("path")
    @classmethod
    def _no_folder(cls, path: Path) -> Path:
        if path.is_dir():
            raise ValueError("must be the path of a file, not of a folder")
        return path


class JsonlSink:
    """Appends events; an event is on the disk when `publish` returns.

    The last line tells which events a file already has: one delivered again after a crash is
    skipped, a line torn by a crash is mended. A file renamed or deleted by others (logrotate) is
    begun anew.
    """

    def __init__(self, options: JsonlOptions) -> None:
        self._options = options
        self._path = options.path
        self._max_bytes = None if options.max_mb is None else int(options.max_mb * 1_000_000)
        self._file: BinaryIO | None = None
        self._last: tuple[int, str] | None = None

    def publish(self, event: Event) -> None:
        """Append a wanted event unless the file has it; raises `OSError` when that fails."""
        if not self._options.wants(event):
            return
        try:
            file = self._current()
            if not self._has(event):
                _append(file, as_json(event) + b"\n")
                self._last = event.event_id, event.at
        except OSError:
            # Half a line may be in the file now: opening it again mends that.
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        if self._file:
            self._file.close()
            self._file = None

    def _has(self, event: Event) -> bool:
        """Numbers grow, but a new database begins at 1 again: then the time has moved on."""
        if self._last is None:
            return False
        number, at = self._last
        return event.event_id <= number and event.at <= at

    def _current(self) -> BinaryIO:
        if self._file and not self._is_in_place(self._file):
            self.close()
        if self._file and self._is_full(self._file):
            self.close()
            self._path.replace(self._old)  # synced with the new file's name
        if self._file is None:
            self._file = self._open()
        return self._file

    def _is_in_place(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _is_full(self, file: BinaryIO) -> bool:
        return self._max_bytes is not None and os.fstat(file.fileno()).st_size >= self._max_bytes

    def _open(self) -> BinaryIO:
        make_folder(self._path.parent)
        file = self._path.open("ab+", buffering=0)
        sync(self._path.parent)
        _mend(file)
        self._last = _last_event(file) or self._last or self._last_of_old()
        return file

    def _last_of_old(self) -> tuple[int, str] | None:
        if not self._old.exists():
            return None
        with self._old.open("rb") as file:
            return _last_event(file)

    @property
    def _old(self) -> Path:
        return self._path.with_name(f"{self._path.name}.1")


def _append(file: BinaryIO, line: bytes) -> None:
    written = file.write(line)
    if written != len(line):
        raise OSError(f"{file.name}: only {written} of {len(line)} bytes written: free some space")
    os.fsync(file.fileno())


def _mend(file: BinaryIO) -> None:
    """Cut off a last line that was torn; complete one that lacks only its end."""
    tail = next(_lines_backwards(file))
    if tail and _event_of(tail) is None and _is_torn(tail):
        file.truncate(file.seek(0, os.SEEK_END) - len(tail))
    elif tail:
        file.write(b"\n")


def _is_torn(tail: bytes) -> bool:
    """Tell our own half line, or zeros after a power cut, from what others wrote."""
    written = tail.rstrip(b"\0")
    return START.startswith(written) or written.startswith(START)


def _last_event(file: BinaryIO) -> tuple[int, str] | None:
    """Return number and time of the last event in the file, past anything that is none."""
    return next(filter(None, map(_event_of, _lines_backwards(file))), None)


def _event_of(line: bytes) -> tuple[int, str] | None:
    try:
        record = json.loads(line)
        return int(record["event_id"]), str(record["at"])
    except (ValueError, KeyError, TypeError):
        return None


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """Yield what stands between line ends, last first; first what follows the last line end."""
    position, rest = file.seek(0, os.SEEK_END), b""
    while position:
        step = min(BLOCK, position)
        position = file.seek(position - step)
        rest, *lines = (file.read(step) + rest).split(b"\n")
        yield from reversed(lines)
    yield rest


@hookimpl
def register_sinks() -> Iterable[Factory[Sink]]:
    """Offer JSON lines."""
    summary = "events as JSON lines in a file"
    return [Factory("jsonl", JsonlSink, JsonlOptions, summary, _needs)]


def _needs(options: JsonlOptions) -> Needs:
    return Needs(writes=(options.path.parent,))
