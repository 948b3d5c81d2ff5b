"""The `sort` sink: each classified image into a folder named after its label."""

import errno
import logging
import os
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from daemon.contracts import ConfigPath, Factory, Needs, Options, Sink
from daemon.domain import Event
from daemon.errors import RejectedEventError, SinkError, way_out
from daemon.hookspecs import hookimpl
from daemon.text import display_path, printable
from plugins.sinks import _placing as placing
from plugins.sinks._folders import folder_name, numbered
from plugins.sinks._journal import (
    BEGUN,
    FILED,
    FOUND,
    NAME,
    NEW,
    REPLACED,
    UNDONE,
    Entry,
    Journal,
)
from plugins.sinks._undoing import KeptError, part_name, undo

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)
_ONLY_THIS = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
"""What the sorted folder says that concerns one name in it, and not the whole of it."""


class SortOptions(Options):
    """Where images are sorted into, and how."""

    folder: ConfigPath = Field(
        description="The folder of the label folders; made where it is missing. No source may "
        "watch it."
    )
    mode: Literal["copy", "move", "hardlink", "symlink"] = Field(
        default="copy", description="How an image gets into the folder of its label."
    )
    unknown: str = Field(
        default="unknown",
        description="The folder for images that the model calls unknown or is not sure enough of.",
    )
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="With less confidence an image counts as unknown."
    )

    @field_validator("unknown")
    @classmethod
    def _one_folder(cls, name: str) -> str:
        if folder_name(name) != name:
            raise ValueError("must be the name of one folder, not hidden")
        return name


class SortSink:
    """Puts images away; each is in place, whole, when `publish` returns.

    Never writes over a file, nor removes one that is nowhere else. The journal knows what was
    done for which event, so that an event that comes again changes nothing, wherever the first
    attempt ended. An image that a later model version labels otherwise changes its folder; one
    that was taken back by hand is left alone.
    """

    def __init__(self, options: SortOptions) -> None:
        self.folder: Path = options.folder
        self._options = options
        self._spared: frozenset[str] = frozenset()
        self._open_journal: Journal | None = None

    def spare(self, titles: Collection[str]) -> None:
        """Leave the files of these sources where they are."""
        self._spared = frozenset(titles)

    def publish(self, event: Event) -> None:
        """Put the image away; raises `SinkError` where the folder refuses, `RejectedEventError`
        where the image itself cannot be read or moved."""
        if event.kind != "classified" or event.file is None:
            return
        path = Path(os.fsdecode(event.file))
        if self._is_left_alone(event, path):
            return
        try:
            self._publish(event, path)
        except placing.OtherFileError:
            _pass_over(path, "it was changed since")
        except OSError as error:
            raise self._explained(error) from error
        except sqlite3.Error as error:
            self.close()  # opened again, it may be another file, or one that is well
            raise SinkError(f"{self.folder / NAME}: {error}") from error

    def close(self) -> None:
        """Close the journal; the next event opens it again."""
        if self._open_journal is not None:
            self._open_journal.close()
            self._open_journal = None

    def _is_left_alone(self, event: Event, path: Path) -> bool:
        is_own = path.resolve().is_relative_to(self.folder.resolve())
        return is_own or event.payload.get("source") in self._spared

    def _publish(self, event: Event, path: Path) -> None:
        entry = self._journal.of(event) or self._new_entry(event, path)
        if entry.state not in (NEW, BEGUN):
            return
        earlier = self._journal.of_content(path, entry.sha256)
        if any(old.state == UNDONE for old in earlier):
            _pass_over(path, "it was taken back before")
        elif placed := self._file(entry):
            self._take_back_earlier(earlier, placed.target)

    def _new_entry(self, event: Event, path: Path) -> Entry:
        target = Path(self._label_folder(event), path.name)
        sha256 = str(event.payload["sha256"])
        return Entry(event.event_id, event.at, path, sha256, target, self._options.mode, NEW)

    def _label_folder(self, event: Event) -> str:
        told = event.payload
        if told["is_unknown"] or told["confidence"] < self._options.min_confidence:
            return self._options.unknown
        return folder_name(told["label"])

    def _file(self, entry: Entry) -> Entry | None:
        """Put one image in place; None where it is not there any more."""
        try:
            with placing.opened(entry.path) as original:
                return self._place(entry, original)
        except FileNotFoundError as error:
            if os.path.lexists(entry.path):
                raise  # it is a folder that somebody removed this moment
            if not entry.path.parent.is_dir():
                raise RejectedEventError(f"{_shown(entry.path)}: its folder is gone") from error
            return self._end_without_original(entry)

    def _end_without_original(self, entry: Entry) -> Entry | None:
        """A move may have ended when a kill came; anything else that is gone was removed."""
        target = self._at(entry.target)
        placing.remove(part_name(target, entry.event_id))
        if entry.state == BEGUN and placing.hash_at(target) == entry.sha256:
            return self._noted(entry, entry.target, FILED)
        _pass_over(entry.path, "it is not there any more")
        return None

    def _place(self, entry: Entry, original: placing.Original) -> Entry:
        placing.remove(part_name(self._at(entry.target), entry.event_id))
        if entry.mode != "copy" and original.sha256() != entry.sha256:
            raise placing.OtherFileError(entry.path)
        for target in map(entry.target.with_name, numbered(entry.target.name)):
            is_own = entry.state == BEGUN and entry.target == target
            if is_own:
                self._clear(target)
            if not os.path.lexists(self._at(target)):
                entry = self._noted(entry, target, BEGUN)
                with suppress(FileExistsError):
                    self._put(entry, original)
                    return self._noted(entry, target, FILED)
            elif self._is_done(entry, target, is_own, original):
                return self._noted(entry, target, FILED if is_own else FOUND)
        raise AssertionError("names never end")

    def _put(self, entry: Entry, original: placing.Original) -> None:
        at = self._at(entry.target)
        part = part_name(at, entry.event_id)
        _make_folder(at.parent)
        match entry.mode:
            case "copy":
                placing.put_copy(original, at, entry.sha256, part)
            case "move":
                placing.put_moved(original, at, entry.sha256, part)
            case "hardlink":
                placing.put_link(original, at)
            case _:
                at.symlink_to(entry.path)
                placing.sync_folder(at)

    def _clear(self, target: Path) -> None:
        """Remove the empty file with which a copy had taken its name when a kill came."""
        at = self._at(target)
        if placing.hash_at(at) == placing.EMPTY:
            at.unlink()

    def _is_done(
        self, entry: Entry, target: Path, is_own: bool, original: placing.Original
    ) -> bool:
        """Tell whether the image is at a target already; a move that was begun is ended there.

        The same content by another hand does for all but a move, which would leave the original.
        """
        at = self._at(target)
        if entry.mode == "symlink":
            return at.is_symlink() and at.readlink() == entry.path
        if entry.mode == "move" and not is_own:
            return False
        if placing.hash_at(at) != entry.sha256:
            return False
        if entry.mode == "move":
            placing.take_away(original, at)
        return True

    def _noted(self, entry: Entry, target: Path, state: str) -> Entry:
        entry = replace(entry, target=target, state=state)
        self._journal.write(entry)
        return entry

    def _take_back_earlier(self, earlier: Iterable[Entry], target: Path) -> None:
        """Remove the image from where an earlier model version had put it."""
        for old in earlier:
            if old.state == FILED and old.target != target:
                try:
                    undo(self._journal, self.folder, old, REPLACED)
                except KeptError as error:
                    log.info("%s stays: %s", _shown(self._at(old.target)), error)

    def _explained(self, error: OSError) -> SinkError:
        """Say what is wrong, and tell the trouble of one image from that of the folder."""
        about = Path(error.filename2 or error.filename or self.folder)
        is_image = not about.is_relative_to(self.folder)
        said = f"{_shown(about)}: {error.strerror}; {way_out(error)}"
        if error.filename2 and error.errno in (errno.EXDEV, errno.EPERM):
            said = f"{_shown(about)}: {error.strerror}; sort with `mode: copy`"
            is_image = error.errno == errno.EPERM
        return (RejectedEventError if is_image or error.errno in _ONLY_THIS else SinkError)(said)

    def _at(self, target: Path) -> Path:
        return self.folder / target

    @property
    def _journal(self) -> Journal:
        if self._open_journal is None:
            self._open_journal = Journal(self.folder)
        return self._open_journal


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        placing.sync_folder(path)


def _pass_over(path: Path, reason: str) -> None:
    log.info("%s is not sorted: %s", _shown(path), reason)


def _shown(path: Path) -> str:
    return printable(display_path(os.fsencode(path)))


@hookimpl
def register_sinks() -> Iterable[Factory[Sink]]:
    """Offer sorting into folders."""
    summary = "images into a folder for each label"
    return [Factory("sort", SortSink, SortOptions, summary, _needs)]


def _needs(options: SortOptions) -> Needs:
    return Needs((options.folder,), moves_images=options.mode in ("move", "hardlink"))


@hookimpl
def register_commands(cli: "click.Group") -> None:
    """Add `classifyd sort`."""
    from plugins.sinks._sort_command import sort

    cli.add_command(sort)
