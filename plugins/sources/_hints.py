"""What the watcher's threads leave for the source's own thread: paths worth a look."""

import threading
from enum import Enum

LIMIT = 20_000


class Hint(Enum):
    """Why a path is worth a look."""

    LOOK = "look"  # created, deleted or renamed away
    WHOLE = "whole"  # closed by its writer, or renamed into place
    FOLDER = "folder"  # a folder was made: walk it
    WHOLE_FOLDER = "whole folder"  # a folder was renamed into place, with all it holds


_UNSURE = frozenset({Hint.LOOK})


class Hints:
    """Paths that changed, each once with its latest hint; taking them empties it.

    What a writer has finished is news, which wakes at once; a mere `LOOK` waits for the next
    waking, since most often the writer is about to finish. Past `limit` paths further ones are
    dropped and `lost` is set: only a walk tells then. Adding never blocks, so the watcher always
    keeps up with the kernel.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._sure: dict[bytes, Hint] = {}
        self._unsure: dict[bytes, Hint] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self.lost = False

    def add(self, path: bytes, hint: Hint) -> None:
        """Note one path, in place of what was known of it."""
        into, other = self._sure, self._unsure
        if hint in _UNSURE:
            into, other = other, into
        with self._lock:
            other.pop(path, None)
            if path in into or len(into) + len(other) < self._limit:
                into[path] = hint
            else:
                self.lost = True
        if hint not in _UNSURE or self.lost:
            self._news.set()

    def lose(self) -> None:
        """Note that something happened of which no path is known."""
        self.lost = True
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait for news; False when none came."""
        return self._news.wait(seconds)

    def take(self, unsure: bool = True) -> dict[bytes, Hint]:
        """Return what was noted since the last time, oldest first; on demand only what is sure."""
        with self._lock:
            self._news.clear()
            taken, self._sure = self._sure, {}
            if unsure:
                taken, self._unsure = self._unsure | taken, {}
        return taken
