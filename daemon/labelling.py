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
from daemon.store.words import LabelWords, Taken
from daemon.text import display_path

_log = logging.getLogger("classifyd")
_CHUNK = 200
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
        self._held = 0
        self._complained: set[bytes] = set()

    def look(self, whole: bool, confirmed: bool = False) -> int:
        """Take in what is new; returns how many labels changed.

        `whole`: look at all files of the source's folder, not only at those that were classified
        lately. `confirmed`: retract however many labels of removed files.
        """
        now = self._clock.now()
        since = "" if whole else utc_text(now - _RECENT_S)
        news = self._words.news(since, utc_text(now if confirmed else now - _GRACE_S))
        self._held = 0 if whole else self._held
        return sum(self._ask(chunk, confirmed) for chunk in _chunks(news))

    def _ask(self, news: Sequence[FileNews], confirmed: bool) -> int:
        cursor = self._words.cursor()
        said = self._source.since(cursor, news)
        words = list(self._proper(said.words))
        taken = self._words.take(words, utc_text(self._clock.now()), confirmed)
        found = self._find(taken.unknown)
        self._tell_held(taken)
        if said.cursor != cursor and not (taken.waiting or found or taken.held):
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

    def _tell_held(self, taken: Taken) -> None:
        if taken.held > self._held:
            _log.warning(
                "label source %s: the files of %d labels were removed, more than a tenth of all "
                "labels at once: they keep them until `classifyd labels confirm-removals`",
                self.title,
                taken.held,
            )
        self._held = max(self._held, taken.held)

    def _complain(self, path: bytes, reason: str) -> None:
        if path not in self._complained:
            _log.warning("label source %s: %s: %s", self.title, display_path(path), reason)
            self._complained.add(path)


def _chunks(news: Sequence[FileNews]) -> Iterator[Sequence[FileNews]]:
    """Cut news into pieces of which none makes a long transaction; at least one, if empty.

    Removals stay together, since how many they are decides whether they count.
    """
    there = [file for file in news if file.is_there]
    gone = [file for file in news if not file.is_there]
    for start in range(0, len(there), _CHUNK):
        yield there[start : start + _CHUNK]
    if gone or not there:
        yield gone
