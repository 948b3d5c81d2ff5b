"""One step of labelling: a label source is asked, and what it says is taken in; no threads."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Engine

from daemon.clock import Clock, utc_text
from daemon.contracts import FileNews, LabelSource, Word
from daemon.domain import FileStat, Sighting
from daemon.labels.class_name import class_name
from daemon.store.inbox import Inbox
from daemon.store.words import LabelWords
from daemon.text import display_path

_log = logging.getLogger("classifyd")
_CHUNK = 500
_RECENT_S = 60.0
# A moved file is gone from its old place before it was read at the new one.
_GRACE_S = 5.0


class Labelling:
    """One label source's way into the database. The same words twice do no harm, so that a kill
    at any point loses none."""

    def __init__(self, engine: Engine, source: LabelSource, many: bool, clock: Clock) -> None:
        self.title = source.title
        self._source = source
        self._words = LabelWords(engine, source.title, many)
        self._inbox = Inbox(engine, source.title)
        self._clock = clock
        self._told = 0
        self._complained: set[bytes] = set()

    def look(self, whole: bool, confirmed: bool = False) -> int:
        """Take in what is new; returns how many labels changed.

        `whole`: look at all files of the source's folder, not only at those that were classified
        lately. `confirmed`: retract however many labels of removed files.
        """
        now = self._clock.now()
        since = "" if whole else utc_text(now - _RECENT_S)
        # Held removals are weighed again by whole looks only: there may be very many.
        until = "" if self._told and not whole else utc_text(now - _GRACE_S * (not confirmed))
        news = self._words.news(since, until)
        has_removals = not all(file.is_there for file in news)
        is_held = has_removals and not confirmed and self._hold(now)
        if whole and not has_removals:
            self._told = 0
        return sum(self._ask(chunk, is_held) for chunk in _chunks(news))

    def alarm(self, trouble: str | None) -> None:
        """Let `status` tell that the source cannot be heard; None: it can again."""
        self._words.alarm(trouble, utc_text(self._clock.now()))

    def _hold(self, now: float) -> bool:
        """Tell whether removals must be confirmed; the log tells when they become more."""
        held = self._words.held(utc_text(now))
        if held > self._told:
            _log.warning(
                "label source %s: the files of %d labels were removed, more than a tenth of all "
                "labels at once: they keep them until `classifyd labels confirm-removals`",
                self.title,
                held,
            )
        self._told = held
        return held > 0

    def _ask(self, news: Sequence[FileNews], is_held: bool) -> int:
        cursor = self._words.cursor()
        said = self._source.since(cursor, news)
        words = list(self._proper(said.words))
        heard = [word for word in words if word.label is not None or not is_held]
        taken = self._words.take(heard, utc_text(self._clock.now()))
        left = len(words) - len(heard) + len(taken.waiting) + self._find(taken.unknown)
        if not left and said.cursor != cursor:
            self._words.keep(said.cursor)
        return taken.changed

    def _proper(self, words: Iterable[Word]) -> Iterator[Word]:
        """Yield the words whose class can be one."""
        for word in words:
            try:
                label = None if word.label is None else class_name(word.label)
            except ValueError as error:
                self._complain(word.path, str(error))
            else:
                yield Word(word.path, label, word.who, word.at)

    def _find(self, words: Iterable[Word]) -> int:
        """Offer files to the inbox that no source has found; returns how many there are."""
        sightings = []
        for word in words:
            try:
                sightings.append(Sighting(word.path, FileStat.of(os.lstat(word.path))))
            except OSError as error:
                self._complain(word.path, f"cannot be found ({error.strerror})")
        if sightings:
            self._inbox.sighted(self.title, sightings, utc_text(self._clock.now()))
        return len(sightings)

    def _complain(self, path: bytes, reason: str) -> None:
        if path not in self._complained:
            _log.warning("label source %s: %s: %s", self.title, display_path(path), reason)
            self._complained.add(path)


def _chunks(news: Sequence[FileNews]) -> Iterator[Sequence[FileNews]]:
    """Cut news into pieces of which none makes a long transaction; at least one, if empty."""
    for start in range(0, max(1, len(news)), _CHUNK):
        yield news[start : start + _CHUNK]
