"""Room on disk: taking work, training and backups wait while there is too little of it."""

import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.errors import NoRoomError

_log = logging.getLogger("classifyd")
_ENOUGH = 1.25
"""So many times the least must be free before work goes on, so that it does not come and go."""

FreeBytes = Callable[[Path], int]
Places = Mapping[str, Path]
"""What lies where: the database's folder and the state folder, by their keys in the settings."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user may still write below a folder, made already or not; a disk
    that does not answer counts as empty, since it is not room that it lacks."""
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        return shutil.disk_usage(existing).free
    except OSError:
        return sys.maxsize


def require_room(places: Places, least: int | None, what: str, needs: int = 0) -> None:
    """Raise `NoRoomError` where `what`, which takes `needs` bytes, would leave too little."""
    for key, folder in places.items():
        free = free_bytes(folder)
        if least is not None and free - needs < least:
            raise NoRoomError(
                f"{what} needs {_megabytes(least + needs)} free on the disk of {key} ({folder});"
                f" there are {_megabytes(free)}: make room (`classifyd prune`), or lower"
                " disk.min_free"
            )


class DiskGuard:
    """Says when a disk is too full for more work, and when there is room again.

    `least` is asked each time, since a reload may change it.
    """

    def __init__(
        self, places: Places, least: Callable[[], int | None], free: FreeBytes = free_bytes
    ) -> None:
        self._places = places
        self._least = least
        self._free = free
        self.trouble: str | None = None

    def look(self) -> bool:
        """Tell whether work may be taken."""
        least = self._least()
        wanted = 0.0 if least is None else least * (_ENOUGH if self.trouble else 1.0)
        short = {key: free for key, at in self._places.items() if (free := self._free(at)) < wanted}
        if not short and self.trouble is not None:
            _log.info("there is room on disk again: files are taken")
            self.trouble = None
        if short and self.trouble is None:
            (key, free), *_ = short.items()
            self.trouble = (
                f"the disk of {key} ({self._places[key]}) has {_megabytes(free)} free: no files are"
                f" taken until there are {_megabytes(wanted * _ENOUGH)}; make room"
                " (`classifyd prune`), or lower disk.min_free"
            )
            _log.error("%s", self.trouble)
        return self.trouble is None


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
