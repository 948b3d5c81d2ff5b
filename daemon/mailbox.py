"""The one queue into the main loop: all that threads have to say arrives here, in order.

It is bounded, so that a source that finds files faster than they can be recorded waits.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from daemon.domain import BatchResult, Sighting
from daemon.listing import Listing
from daemon.pipeline import Lane

CAPACITY = 256
_RETRY_S = 0.2
_MOST_SIGHTINGS = 500


@dataclass(frozen=True, slots=True)
class Found:
    """Sightings of a source, perhaps as part of a full walk."""

    source: str
    sightings: Sequence[Sighting]
    listing: Listing | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Paths of a source that were deleted or renamed away."""

    source: str
    paths: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Listed:
    """A full walk has ended; `complete` tells whether what it has not met is missing."""

    listing: Listing
    complete: bool


@dataclass(frozen=True, slots=True)
class SourceNews:
    """A source tells of itself: an alarm or its end, or how it watches."""

    source: str
    alarm: str | None = None
    recovered: bool = False
    watching: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ScanEnded:
    """A source that was asked to look once has told all it found."""

    source: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LaneReady:
    """Workers for another model version are warm, or `error` says why they are not."""

    lane: Lane
    error: str | None = None


Message: TypeAlias = Found | Missing | Listed | SourceNews | ScanEnded | LaneReady | BatchResult


def merged(messages: Iterable[Message]) -> Iterator[Message]:
    """Join neighbouring finds of one source, so that a burst of events costs few transactions."""
    joined: Found | None = None
    for message in messages:
        if (
            joined is not None
            and isinstance(message, Found)
            and (message.source, message.listing) == (joined.source, joined.listing)
            and len(joined.sightings) < _MOST_SIGHTINGS
        ):
            joined = Found(joined.source, [*joined.sightings, *message.sightings], joined.listing)
            continue
        if joined is not None:
            yield joined
        joined = message if isinstance(message, Found) else None
        if joined is None:
            yield message
    if joined is not None:
        yield joined


class Stopped(Exception):  # noqa: N818
    """A thread wanted to tell something when it was already asked to end."""


class Mailbox:
    """A bounded queue into the loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._queue: queue.Queue[Message] = queue.Queue(capacity)

    def put(self, message: Message, stop: threading.Event | None = None) -> None:
        """Hand over a message, waiting while the queue is full; raises `Stopped` once `stop` is
        set, since a sender that is to end must not wait for a loop that has ended."""
        while stop is None or not stop.is_set():
            try:
                self._queue.put(message, timeout=_RETRY_S)
                return
            except queue.Full:
                continue
        raise Stopped

    def get(self, timeout_s: float) -> Message | None:
        """Return the next message, None when none came in time."""
        try:
            return self._queue.get(timeout=max(0.0, timeout_s)) if timeout_s > 0 else self._now()
        except queue.Empty:
            return None

    def _now(self) -> Message:
        return self._queue.get_nowait()


class SourceIntake:
    """The `Intake` that one source gets: turns its calls into messages."""

    def __init__(
        self,
        title: str,
        mailbox: Mailbox,
        stop: threading.Event,
        now: Callable[[], str],
        note: str | None,
    ) -> None:
        self._title = title
        self._mailbox = mailbox
        self._stop = stop
        self._now = now
        self._note = note

    def _put(self, message: Message) -> None:
        self._mailbox.put(message, self._stop)

    def found(self, sightings: Sequence[Sighting]) -> None:
        """Pass sightings on."""
        if sightings:
            self._put(Found(self._title, sightings))

    def missing(self, paths: Sequence[bytes]) -> None:
        """Pass on that paths are gone."""
        if paths:
            self._put(Missing(self._title, paths))

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        """Pass a walk on chunk by chunk, then its end."""
        listing = Listing(self._title, self._now())
        for chunk in sightings:
            self._put(Found(self._title, chunk, listing))
        self._put(Listed(listing, complete()))

    def alarm(self, message: str | None) -> None:
        """Pass on that something is wrong, or right again."""
        self._put(SourceNews(self._title, alarm=message, recovered=message is None))

    def watching(self, how: str) -> None:
        """Pass on how the source notices changes."""
        self._put(SourceNews(self._title, watching=how))

    def remember(self, note: str) -> None:
        """Pass a note on, to be kept."""
        self._note = note
        self._put(SourceNews(self._title, note=note))

    def recall(self) -> str | None:
        """Return the note that was kept last."""
        return self._note


class ScanIntake(SourceIntake):
    """The intake of one look at a part of a source: what it does not list is not missing."""

    def listed(self, sightings: Iterable[Sequence[Sighting]], complete: Callable[[], bool]) -> None:
        """Pass a walk on as mere finds."""
        for chunk in sightings:
            self.found(chunk)
