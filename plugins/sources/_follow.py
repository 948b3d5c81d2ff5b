"""Keeps an intake up to date with a folder: hints between listings, listings as the truth."""

import errno
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from daemon.contracts import Intake
from daemon.domain import Sighting
from daemon.text import display_path, printable
from plugins.sources._hints import Hint, Hints
from plugins.sources._root import Root, file_system, is_remote
from plugins.sources._walk import CHUNK, Tree, Walk
from plugins.sources._watch import InotifyWatch

log = logging.getLogger(__name__)

TICK_S = 0.2
"""How often the root and `stop` are looked at while nothing happens."""

REST = 10
"""After a listing, how many times its own duration passes before a loss may cause the next."""

LIMITS = {
    errno.ENOSPC: "inotify limit reached, raise fs.inotify.max_user_watches",
    errno.EMFILE: "inotify limit reached, raise fs.inotify.max_user_instances",
}


@dataclass(frozen=True)
class Pace:
    """How a folder is watched, and the seconds between two listings with and without inotify."""

    watch: Literal["auto", "inotify", "polling"]
    rescan_s: float
    poll_s: float


class Follower:
    """One run of the folder source; everything here happens in the thread that calls `run`."""

    def __init__(
        self,
        tree: Tree,
        root: Root,
        pace: Pace,
        intake: Intake,
        stop: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._tree = tree
        self._root = root
        self._pace = pace
        self._intake = intake
        self._stop = stop
        self._clock = clock
        self._hints = Hints()
        self._watch: InotifyWatch | None = None
        self._armed: str | None = None  # the root that is watched now
        self._way = ""
        self._told = ""
        self._trouble: str | None = ""  # not asked yet, so that an old alarm is cleared
        self._unread: set[bytes] = set()
        self._due = self._renew = self._rested = self._looked = clock()

    def run(self) -> None:
        """Report until stopped; returns well within a second of that."""
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            self._disarm()

    def _step(self) -> None:
        if not self._present():
            self._stop.wait(TICK_S)
            return
        if self._armed != self._root.identity or self._is_shaken():
            self._arm()
        if self._clock() >= self._due:
            self._list()
        else:
            self._hints.wait(TICK_S)
            self._report(self._hints.take(unsure=self._is_time_for_the_unsure()))

    def _is_time_for_the_unsure(self) -> bool:
        """Tell whether a tick has passed: a file that is created now is most often closed soon."""
        now = self._clock()
        if now < self._looked + TICK_S:
            return False
        self._looked = now
        return True

    def _present(self) -> bool:
        """Check the root; on a change tell the intake, and stop watching what is gone."""
        trouble = self._root.trouble()
        if trouble != self._trouble:
            self._trouble = trouble
            self._intake.alarm(trouble)
        if trouble:
            self._disarm()
        return trouble is None

    def _is_shaken(self) -> bool:
        """Tell whether it is time to begin anew: events were lost, or the watch is old."""
        broken = self._hints.lost or (self._watch is not None and not self._watch.alive)
        now = self._clock()
        return now >= self._rested and (broken or now >= self._renew)

    def _arm(self) -> None:
        """Watch first and list then: what comes in between is seen twice, not never."""
        self._disarm()
        self._hints.lost = False
        self._armed = self._root.identity
        self._due = self._clock()
        self._renew = self._due + self._pace.rescan_s
        if reason := self._reason_to_poll():
            self._goes(f"polling every {self._pace.poll_s:g} s: {reason}")
        else:
            self._watch_events()

    def _disarm(self) -> None:
        self._armed = None
        if self._watch:
            self._watch.close()
            self._watch = None

    def _reason_to_poll(self) -> str | None:
        if self._pace.watch == "polling":
            return "as configured"
        kind = file_system(self._root.path)
        if self._pace.watch == "auto" and is_remote(kind):
            return f"{kind} tells nothing of changes made elsewhere"
        return None

    def _watch_events(self) -> None:
        try:
            self._watch = InotifyWatch(self._tree, self._hints, self._stop.is_set)
        except FileNotFoundError:
            self._disarm()  # gone this moment: the next step sees it
        except OSError as error:
            reason = LIMITS.get(error.errno or 0, f"inotify failed: {error}")
            self._goes(f"polling every {self._pace.poll_s:g} s: {reason}", warn=True)
        else:
            self._goes("inotify")

    def _goes(self, way: str, warn: bool = False) -> None:
        """Tell how changes are noticed from now on, if that is new."""
        if way != self._way:
            self._way = way
            log.log(logging.WARNING if warn else logging.INFO, "%s: watched by %s", self._root, way)
        self._tell_way()

    def _tell_way(self) -> None:
        """Tell it for `status`, and what keeps deletions from being noticed."""
        told = self._way
        if self._unread:
            told += f"; {_named(self._unread)} cannot be read: no deletion is noticed"
        if told != self._told:
            self._told = told
            self._intake.watching(told)

    def _list(self) -> None:
        """Hand in everything there is; nothing is judged missing unless all could be read."""
        begun, identity = self._clock(), self._root.identity
        walk = Walk(self._tree, self._tree.root, self._stop.is_set)

        def complete() -> bool:
            same = self._root.trouble() is None and self._root.identity == identity
            return walk.complete and same

        self._intake.listed(walk.chunks(), complete)
        if identity is not None and identity != self._intake.recall():
            self._intake.remember(identity)
        self._note_unread(set(walk.unread))
        ended = self._clock()
        self._rested = ended + max(1.0, REST * (ended - begun))
        self._due = math.inf if self._watch else ended + self._pace.poll_s

    def _note_unread(self, unread: set[bytes]) -> None:
        for path in sorted(unread - self._unread):
            shown = printable(display_path(path))
            log.warning("%s cannot be read: nothing in %s is judged missing", shown, self._root)
        self._unread = unread
        self._tell_way()

    def _report(self, hints: dict[bytes, Hint]) -> None:
        """Look at every hinted path; what the disk says counts, not what the event said."""
        covered = {path: hint for path, hint in hints.items() if self._tree.covers(path)}
        folders = {
            path: hint is Hint.WHOLE_FOLDER
            for path, hint in covered.items()
            if hint in (Hint.FOLDER, Hint.WHOLE_FOLDER) and self._tree.is_folder(path)
        }
        for whole in (True, False):
            self._report_folders({path for path in folders if folders[path] is whole}, whole)
        self._report_files({p: hint for p, hint in covered.items() if p not in folders})

    def _report_folders(self, folders: set[bytes], whole: bool) -> None:
        for folder in filter(self._tree.enters, _outermost(folders)):
            walk = Walk(self._tree, folder, self._stop.is_set, whole)
            for chunk in walk.chunks():
                self._intake.found(chunk)
            self._note_unread(self._unread | set(walk.unread))

    def _report_files(self, hints: dict[bytes, Hint]) -> None:
        found: list[Sighting] = []
        missing: list[bytes] = []
        for path, hint in hints.items():
            try:
                sighting = self._tree.sight(path, hint is Hint.WHOLE)
            except OSError:
                continue  # cannot be told now; the next listing will
            if sighting:
                found.append(sighting)
            else:
                missing.append(path)
        for start in range(0, len(found), CHUNK):
            self._intake.found(found[start : start + CHUNK])
        # A root that goes away takes its files along: that is no deletion.
        if missing and self._present():
            self._intake.missing(missing)


def _named(paths: set[bytes]) -> str:
    """Name the first of some paths, and say how many more there are."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return printable(display_path(min(paths))) + more


def _outermost(folders: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out folders inside others: walking the outer one sees them too."""
    last: bytes | None = None
    for folder in sorted(folders, key=lambda path: path.split(b"/")):
        if last is None or not folder.startswith(last + b"/"):
            yield folder
            last = folder
