"""`scan`: one look at some folders, in this process or handed to the daemon that runs."""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.app import Wiring, open_lock, upgraded_engine
from daemon.clock import utc_text
from daemon.config import Loaded
from daemon.contracts import Intake, RootedSource, Source, plain_path
from daemon.domain import FINAL_STATES, SCAN_TITLE, FileStat, FileState, Sighting
from daemon.errors import BusyError, ClassifydError
from daemon.progress import Progress, progress_bar
from daemon.requests import CLASSIFY_STALE
from daemon.store.board import Board, Stale
from daemon.store.database import open_engine
from daemon.store.inbox import Inbox
from daemon.store.migrate import require_current
from daemon.store.models import Models
from daemon.tally import Tally

_POLL_S = 0.3
_ENDED = FINAL_STATES | {FileState.RETRY}
"""A file that is to be tried again has been tried: the next try may be hours away."""


class _Once(ABC):
    """A source of one look, where nothing is followed."""

    title = SCAN_TITLE

    @abstractmethod
    def scan(self, intake: Intake, below: Sequence[Path] = ()) -> None:
        """Look."""

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """Look once; nothing here changes."""
        self.scan(intake)

    def holds(self, path: Path) -> bool:
        """Tell that nothing else can be asked for."""
        return False


class GivenFiles(_Once):
    """Files named on the command line, by absolute paths, that no configured source holds."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def scan(self, intake: Intake, below: Sequence[Path] = ()) -> None:
        """Report the files as they are."""
        paths = [os.fsencode(path) for path in self._paths]
        intake.found([Sighting(path, FileStat.of(os.lstat(path)), quiet_s=0.5) for path in paths])


class _Part(_Once):
    """What was named of a source, looked at as the source itself does."""

    def __init__(self, source: Source, below: Sequence[Path]) -> None:
        self.title = source.title
        self.root = source.root if isinstance(source, RootedSource) else None
        self._source = source
        self._below = below

    def scan(self, intake: Intake, below: Sequence[Path] = ()) -> None:
        self._source.scan(intake, self._below)


def _looks(wiring: Wiring, paths: Sequence[Path]) -> list[Source]:
    """Return what to look at: the named places within their sources, each other one by itself."""
    sources = wiring.sources()
    if not paths:
        return sources
    places = list(dict.fromkeys(plain_path(path) for path in paths))
    held = {source.title: list(filter(source.holds, places)) for source in sources}
    within = {place for below in held.values() for place in below}
    alone = [place for place in places if place not in within]
    files = [place for place in alone if not place.is_dir()]
    return [
        *(_Part(source, held[source.title]) for source in sources if held[source.title]),
        *(wiring.folder_source(place) for place in alone if place.is_dir()),
        *([GivenFiles(files)] if files else []),
    ]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan came to, in words; `left` is how many files wait to be tried again."""

    summary: str
    left: int = 0


def scan_here(wiring: Wiring, paths: Sequence[Path], stale: bool) -> Scanned:
    """Classify in this process."""
    engine = upgraded_engine(wiring.loaded)
    service = wiring.service(engine)
    if stale:
        Board(engine).ask(CLASSIFY_STALE, {}, utc_text(wiring.clock.now()))
    sources = [] if stale and not paths else _looks(wiring, paths)
    total = _stale_total(Stale(engine), Models(engine)) if stale else 0
    with progress_bar("classifying") as show:

        def progress(tally: Tally, has_looked: bool) -> None:
            known = max(total, tally.found, tally.finished)
            show(Progress(tally.finished, known if has_looked or stale else None))

        tally = service.scan(sources, whole=not paths, progress=progress)
    return _scanned(tally, Inbox(engine, SCAN_TITLE).retrying())


def _scanned(tally: Tally, left: int) -> Scanned:
    words = f"{tally.finished} files: {tally.in_words()}" if tally.finished else "nothing new"
    return Scanned(words + _left(left), left)


def _left(left: int) -> str:
    return f"; {left} left to be tried again: `classifyd failed` tells why" if left else ""


def _stale_total(stale: Stale, models: Models) -> int:
    active = models.active()
    return stale.count(active.version_id) if active else 0


class _Hand:
    """An intake that writes what a scan finds straight into the daemon's inbox."""

    def __init__(self, inbox: Inbox, title: str, now: Callable[[], str]) -> None:
        self._inbox = inbox
        self._title = title
        self._now = now
        self.paths: dict[bytes, None] = {}

    def found(self, sightings: Sequence[Sighting]) -> None:
        self._inbox.sighted(self._title, sightings, self._now())
        self.paths |= dict.fromkeys(sighting.path for sighting in sightings)

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        for chunk in sightings:
            self.found(chunk)

    def missing(self, paths: Sequence[bytes]) -> None:
        """A scan adds; the daemon finds out for itself what is gone."""

    def alarm(self, message: str | None) -> None:
        if message is not None:
            raise ClassifydError(message)

    def watching(self, how: str) -> None:
        """A scan watches nothing."""

    def remember(self, note: str) -> None:
        """The daemon keeps the notes."""

    def recall(self) -> str | None:
        return None


def scan_beside(wiring: Wiring, paths: Sequence[Path], stale: bool) -> Scanned:
    """Hand the work to the running daemon and follow it."""
    database = wiring.loaded.settings.database
    engine = open_engine(database)
    require_current(engine, database)

    def now() -> str:
        return utc_text(wiring.clock.now())

    def wait() -> None:
        time.sleep(_POLL_S)
        _require_daemon(wiring.loaded)

    again = ""
    if stale:
        again = _follow_stale(Board(engine), Stale(engine), Models(engine), now(), wait)
    if stale and not paths:
        return Scanned(again)
    inbox = Inbox(engine, SCAN_TITLE)
    handed: dict[bytes, None] = {}
    for source in _looks(wiring, paths):
        hand = _Hand(inbox, source.title, now)
        source.scan(hand)
        handed |= hand.paths
    _follow_files(inbox, list(handed), wait)
    left = len(inbox.unfinished(list(handed), FINAL_STATES))
    count = "1 file" if len(handed) == 1 else f"{len(handed)} files"
    words = f"{count} handed to the running daemon{_left(left) or ', and finished'}"
    return Scanned("; ".join(filter(None, (again, words))), left)


def _require_daemon(loaded: Loaded) -> None:
    """Raise `BusyError` when nobody holds the lock any more."""
    try:
        with open_lock(loaded):
            pass
    except BusyError:
        return
    raise BusyError(
        "the daemon has ended before it was done; what it has not done stays queued for the "
        "next start"
    )


def _follow_files(inbox: Inbox, pending: list[bytes], wait: Callable[[], None]) -> None:
    total = len(pending)
    with progress_bar("classifying") as show:
        while pending:
            pending = inbox.unfinished(pending, _ENDED)
            show(Progress(total - len(pending), total))
            if pending:
                wait()


def _follow_stale(
    board: Board, stale: Stale, models: Models, now: str, wait: Callable[[], None]
) -> str:
    total = _stale_total(stale, models)
    request = board.ask(CLASSIFY_STALE, {}, now)
    with progress_bar("classifying again") as show:
        while (outcome := board.outcome(request)) is None:
            show(Progress(total - _stale_total(stale, models), total))
            wait()
        show(Progress(total, total))
    if outcome != "done":
        raise ClassifydError(outcome)
    left = _stale_total(stale, models)
    words = f"{total - left} of {total} files classified again by the running daemon"
    return f"{words}; {left} could not be, as its log tells" if left else words
