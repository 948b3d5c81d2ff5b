"""What the watcher's threads leave for the source's own thread: paths worth a look."""

import threading
from enum import Enum

LIMIT = 20_000


class Hint(Enum):
    """Why a path is worth a look."""

    LOOK = "look"  # created, deleted or renamed away
    WHOLE = "whole"  # closed by its writer, or renamed into place
    FOLDER = "folder"  # a folder came: walk it


class Hints:
    """Paths that changed, each once with its latest hint; taking them empties it.

    Past `limit` paths further ones are dropped and `lost` is set: only a walk tells then.
    Adding never blocks, so the watcher always keeps up with the kernel.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._paths: dict[bytes, Hint] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self.lost = False

    def add(self, path: bytes, hint: Hint) -> None:
        """Note one path, in place of what was known of it."""
        with self._lock:
            if path in self._paths or len(self._paths) < self._limit:
                self._paths[path] = hint
            else:
                self.lost = True
        self._news.set()

    def lose(self) -> None:
        """Note that something happened of which no path is known."""
        self.lost = True
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait for news; False when none came."""
        return self._news.wait(seconds)

    def take(self) -> dict[bytes, Hint]:
        """Return what was noted since the last time, oldest first."""
        with self._lock:
            self._news.clear()
            taken, self._paths = self._paths, {}
        return taken
