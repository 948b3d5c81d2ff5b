"""`scan`: one look at some folders, in this process or handed to the daemon that runs."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from daemon.app import Wiring, open_lock, upgraded_engine
from daemon.clock import utc_text
from daemon.config import Loaded
from daemon.contracts import Intake, Source, plain_path
from daemon.domain import FINAL_STATES, FileStat, Sighting
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
SCAN_TITLE = "scan"


class GivenFiles:
    """A source of files named on the command line, by absolute paths."""

    title = SCAN_TITLE

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def scan(self, intake: Intake) -> None:
        """Report the files as they are."""
        paths = [os.fsencode(path) for path in self._paths]
        intake.found([Sighting(path, FileStat.of(os.lstat(path)), quiet_s=0.5) for path in paths])

    def run(self, intake: Intake, stop: object) -> None:
        """Report once; nothing here changes."""
        self.scan(intake)


def _sources(wiring: Wiring, paths: Sequence[Path]) -> list[Source]:
    if not paths:
        return wiring.sources()
    paths = [plain_path(path) for path in paths]
    folders: list[Source] = [wiring.folder_source(path) for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    return [*folders, GivenFiles(files)] if files else folders


def scan_here(wiring: Wiring, paths: Sequence[Path], stale: bool) -> str:
    """Classify in this process; returns a summary."""
    engine = upgraded_engine(wiring.loaded)
    service = wiring.service(engine)
    if stale:
        Board(engine).ask(CLASSIFY_STALE, {}, utc_text(wiring.clock.now()))
    sources = [] if stale and not paths else _sources(wiring, paths)
    total = _stale_total(Stale(engine), Models(engine)) if stale else 0
    with progress_bar("classifying") as show:

        def progress(tally: Tally, has_looked: bool) -> None:
            known = max(total, tally.found, tally.finished)
            show(Progress(tally.finished, known if has_looked or stale else None))

        tally = service.scan(sources, whole=not paths, progress=progress)
    return _summary(tally)


def _summary(tally: Tally) -> str:
    return f"{tally.finished} files: {tally.in_words()}" if tally.finished else "nothing new"


def _stale_total(stale: Stale, models: Models) -> int:
    active = models.active()
    return stale.count(active.version_id) if active else 0


class _Hand:
    """An intake that writes what a scan finds straight into the daemon's inbox."""

    def __init__(self, inbox: Inbox, title: str, now: Callable[[], str]) -> None:
        self._inbox = inbox
        self._title = title
        self._now = now
        self.paths: list[bytes] = []

    def found(self, sightings: Sequence[Sighting]) -> None:
        self._inbox.sighted(self._title, sightings, self._now())
        self.paths.extend(sighting.path for sighting in sightings)

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


def scan_beside(wiring: Wiring, paths: Sequence[Path], stale: bool) -> str:
    """Hand the work to the running daemon and follow it; returns a summary."""
    database = wiring.loaded.settings.database
    engine = open_engine(database)
    require_current(engine, database)

    def now() -> str:
        return utc_text(wiring.clock.now())

    def wait() -> None:
        time.sleep(_POLL_S)
        _require_daemon(wiring.loaded)

    if stale:
        _follow_stale(Board(engine), Stale(engine), Models(engine), now(), wait)
    if stale and not paths:
        return "done by the running daemon"
    inbox = Inbox(engine, SCAN_TITLE)
    pending: list[bytes] = []
    for source in _sources(wiring, paths):
        hand = _Hand(inbox, source.title, now)
        source.scan(hand)
        pending.extend(hand.paths)
    _follow_files(inbox, pending, wait)
    return f"{len(pending)} files handed to the running daemon, and finished"


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
            pending = inbox.unfinished(pending, FINAL_STATES)
            show(Progress(total - len(pending), total))
            if pending:
                wait()


def _follow_stale(
    board: Board, stale: Stale, models: Models, now: str, wait: Callable[[], None]
) -> None:
    total = _stale_total(stale, models)
    request = board.ask(CLASSIFY_STALE, {}, now)
    with progress_bar("classifying again") as show:
        while (outcome := board.outcome(request)) is None:
            show(Progress(total - _stale_total(stale, models), total))
            wait()
        show(Progress(total, total))
    if outcome != "done":
        raise ClassifydError(outcome)
