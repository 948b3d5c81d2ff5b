"""From paths on disk to sightings: one path, or a whole tree in chunks.

Paths are bytes throughout, so that names which are no valid UTF-8 keep their identity.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from daemon.below import folder_of
from daemon.domain import FileStat, Sighting
from daemon.errors import ClassifydError
from daemon.text import display_path, printable
from plugins.sources._rules import Rules

CHUNK = 500
"""Sightings handed over at once: few enough for a short transaction."""

LONGEST = 4096
"""Bytes of a path, from which on the kernel takes it in no call."""

OTHER_KINDS = (
    (stat.S_ISLNK, "symbolic link: what it leads to is seen where it lies, if that is watched"),
    (stat.S_ISFIFO, "named pipe, not a file"),
    (stat.S_ISSOCK, "socket, not a file"),
    (stat.S_ISCHR, "device, not a file"),
    (stat.S_ISBLK, "device, not a file"),
)


@dataclass(frozen=True)
class Tree:
    """A watched folder as configured: where, by which rules, how deep."""

    root: bytes
    rules: Rules
    recursive: bool = True

    def relative(self, path: bytes) -> bytes:
        """Return the path as counted from the root."""
        return path[len(self.root) :].lstrip(b"/")

    def covers(self, path: bytes) -> bool:
        """Tell whether a walk would come by this path."""
        relative = self.relative(path)
        return bool(relative) and (
            self.rules.barred(relative) is None if self.recursive else b"/" not in relative
        )

    def enters(self, folder: bytes) -> bool:
        """Tell whether a walk that came by this folder looks into it."""
        return self.recursive and self.rules.enters(self.relative(folder))

    def part(self, path: bytes) -> Iterator[list[Sighting]]:
        """Yield, in chunks, the files at a path that a walk may not come by: then it is told why
        they are left out."""
        is_folder = self.is_folder(path)
        barred = self.rules.barred(self.relative(path) + (b"/" if is_folder else b""))
        walk = Walk(self, path)
        seen = None if is_folder else self.sight(path)
        for chunk in walk.chunks() if is_folder else [[seen] if seen else []]:
            yield [one._replace(ignored=one.ignored or barred) for one in chunk]
        walk.require_all()

    def is_folder(self, path: bytes) -> bool:
        """Tell whether a real folder is there, no symbolic link to one."""
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return False

    @contextmanager
    def opened(self, folder: bytes) -> Iterator[int]:
        """Hold a folder of the tree open, if none on the way to it has become a link."""
        with folder_of(folder + b"/.", self.root) as (handle, name):
            readable = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
        try:
            yield readable
        finally:
            os.close(readable)

    def sight(self, path: bytes, whole: bool = False) -> Sighting | None:
        """Look at one path; None when no file is there (any more). Raises `OSError` if unsure."""
        try:
            with folder_of(path, self.root) as (folder, name):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(status.st_mode) else self.judge(path, status, whole)

    def judge(self, path: bytes, status: os.stat_result, whole: bool = False) -> Sighting:
        """Make a sighting of anything but a folder, from its `lstat`; nothing is opened."""
        reason = None if stat.S_ISREG(status.st_mode) else _other_kind(status.st_mode)
        if reason is None and len(path) >= LONGEST:
            reason = f"path of {LONGEST:,} bytes or more, which no program can open"
        reason = reason or self.rules.keeps_out(self.relative(path))
        return Sighting(path, FileStat.of(status), whole and reason is None, reason)


def _other_kind(mode: int) -> str | None:
    return next((words for test, words in OTHER_KINDS if test(mode)), None)


class Walk:
    """One pass over a folder of the tree, following no symbolic link.

    `unread` lists what could not be read; `halted` is asked now and then whether to give up.
    `whole`: the folder was renamed into place, so that its files are taken for finished.
    """

    def __init__(
        self,
        tree: Tree,
        folder: bytes,
        halted: Callable[[], bool] = lambda: False,
        whole: bool = False,
    ) -> None:
        self.unread: list[bytes] = []
        self._tree = tree
        self._folder = folder
        self._halted = halted
        self._whole = whole
        self._finished = False

    @property
    def complete(self) -> bool:
        """Tell whether everything was seen."""
        return self._finished and not self.unread

    def require_all(self) -> None:
        """Raise `ClassifydError` naming the first folder or file that could not be read."""
        if self.unread:
            first = printable(display_path(min(self.unread)))
            raise ClassifydError(
                f"{first} cannot be read: grant this user the rights r and x on it"
            )

    def chunks(self) -> Iterator[list[Sighting]]:
        """Yield the sightings, up to `CHUNK` at once, while the walk goes on."""
        chunk: list[Sighting] = []
        for sighting in self._sightings():
            chunk.append(sighting)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _sightings(self) -> Iterator[Sighting]:
        folders = [self._folder]
        while folders:
            for path, status in self._entries(folders.pop()):
                if self._halted():
                    return
                if not stat.S_ISDIR(status.st_mode):
                    yield self._tree.judge(path, status, self._whole)
                elif self._tree.enters(path):
                    folders.append(path)
        self._finished = True

    def _entries(self, folder: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield what the folder holds; what vanishes meanwhile is not there, and no error."""
        begin = folder.rstrip(b"/") + b"/"
        try:
            with self._tree.opened(folder) as handle, os.scandir(handle) as entries:
                for entry in entries:
                    path = begin + os.fsencode(entry.name)
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    except OSError:
                        self.unread.append(path)
                    else:
                        yield path, status
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:
            self.unread.append(folder)
