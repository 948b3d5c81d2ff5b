"""Which names under a watched folder are reported, and which rule keeps a file out.

Names are bytes; patterns are text and are compared without regard to upper and lower case,
because cameras write `.JPG` where people write `*.jpg`.
"""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase, translate
from functools import cached_property

TEMPORARY_SUFFIXES = frozenset(
    b"part partial filepart crdownload download opdownload aria2 !sync tmp temp swp swx".split()
)
"""What browsers, sync tools and editors put behind the last dot while they write."""

TEMPORARY_NAMES = (
    ".syncthing.*.tmp",
    "~syncthing~*",
    ".~lock.*#",
    ".*.~*",  # Dropbox, Nextcloud and ownCloud
    ".*.[0-9a-z][0-9a-z][0-9a-z][0-9a-z][0-9a-z][0-9a-z]",  # rsync
    "*~",
    ".#*",
    "#*#",
    "4913",  # vim tries with it whether it may write
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
)

CLUTTER_FOLDERS = frozenset(
    name.lower()
    for name in (
        b"@eaDir",
        b"@Recycle",
        b"#recycle",
        b"$RECYCLE.BIN",
        b"System Volume Information",
        b"__MACOSX",
        b"lost+found",
    )
)
"""Folders of systems and network storage, besides all hidden ones, that are never walked."""


def _segments(pattern: str) -> tuple[str, ...]:
    segments = tuple(pattern.lower().strip("/").split("/"))
    return segments if "/" in pattern.strip("/") else ("**", *segments)


def _matches(parts: Sequence[str], segments: Sequence[str]) -> bool:
    """Tell whether a path matches a pattern, both split at `/`; `**` is any number of folders."""
    if not segments:
        return not parts
    if segments[0] == "**":
        return any(_matches(parts[i:], segments[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], segments[0]) and _matches(parts[1:], segments[1:])


class Rules:
    """Judges paths relative to the watched folder.

    A pattern without `/` is compared with the name alone, one with `/` with the whole relative
    path. `include` holds for files; `ignore` for files and, with all they hold, for folders.
    """

    def __init__(
        self, include: Sequence[str] = (), ignore: Sequence[str] = (), temporary_names: bool = True
    ) -> None:
        self._include = [_segments(pattern) for pattern in include]
        self._ignore = {pattern: _segments(pattern) for pattern in ignore}
        self._temporary_names = temporary_names

    def keeps_out(self, relative: bytes) -> str | None:
        """Return the rule, in words, that keeps this file out, or None when it is wanted."""
        name = relative.rpartition(b"/")[2]
        if self._temporary_names and (pattern := self._temporary(name)):
            return f"temporary name {pattern}"
        if name.startswith(b"."):
            return "hidden file"
        return self._unwanted(relative)

    def enters(self, relative: bytes) -> bool:
        """Tell whether the folder is walked, its parents taken for granted."""
        return self._bars(relative) is None

    def barred(self, relative: bytes) -> str | None:
        """Return the rule, in words, that keeps a walk from coming by this path, or None."""
        while relative := relative.rpartition(b"/")[0]:
            if reason := self._bars(relative):
                return reason
        return None

    def _bars(self, folder: bytes) -> str | None:
        name = folder.rpartition(b"/")[2]
        if name.startswith(b"."):
            return "in a hidden folder"
        if name.lower() in CLUTTER_FOLDERS:
            return f"in a folder {os.fsdecode(name)} of the system"
        pattern = self._ignored_by(folder)
        return f"ignore pattern {pattern}" if pattern else None

    def _unwanted(self, relative: bytes) -> str | None:
        if pattern := self._ignored_by(relative):
            return f"ignore pattern {pattern}"
        if self._include and not any(_matches(_parts(relative), one) for one in self._include):
            return "no include pattern matches"
        return None

    def _ignored_by(self, relative: bytes) -> str | None:
        if not self._ignore:
            return None
        parts = _parts(relative)
        return next((text for text, one in self._ignore.items() if _matches(parts, one)), None)

    def _temporary(self, name: bytes) -> str | None:
        _, dot, suffix = name.lower().rpartition(b".")
        if dot and suffix in TEMPORARY_SUFFIXES:
            return f"*.{suffix.decode()}"
        found = self._odd_names.match(name)
        return TEMPORARY_NAMES[found.lastindex - 1] if found and found.lastindex else None

    @cached_property
    def _odd_names(self) -> re.Pattern[bytes]:
        alternatives = "|".join(f"({translate(pattern)})" for pattern in TEMPORARY_NAMES)
        return re.compile(alternatives.encode(), re.IGNORECASE)


def _parts(relative: bytes) -> list[str]:
    return os.fsdecode(relative).lower().split("/")
