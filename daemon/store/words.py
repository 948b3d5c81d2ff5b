"""What label sources say, against the files they say it of. Every method is one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daemon.contracts import FileNews, Word
from daemon.domain import FileState
from daemon.store import removals
from daemon.store.database import reading, writing
from daemon.store.giving import Given, give, retract
from daemon.store.schema import File, SourceState

_WAITING = frozenset({FileState.SETTLING, FileState.QUEUED, FileState.CLAIMED, FileState.RETRY})

# Files of the source that were classified and have said nothing yet.
_UNSAID = """
    SELECT path_bytes FROM file
    WHERE source = :source AND classified_at >= :since AND state = 'done'
      AND is_current = 1 AND removed_at IS NULL AND said IS NULL
    ORDER BY classified_at
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of words: how many labels changed, whose files wait to be read, whose files
    nobody knows, and how many removals were too many at once."""

    changed: int
    waiting: tuple[Word, ...]
    unknown: tuple[Word, ...]
    held: int


class LabelWords:
    """One label source's words in the database; its title is the source of the labels."""

    def __init__(self, engine: Engine, title: str, many: bool) -> None:
        self._engine = engine
        self._title = title
        self._many = many

    def cursor(self) -> str | None:
        """Return how far the source has been heard."""
        query = select(SourceState.cursor).where(SourceState.title == self._title)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()

    def keep(self, cursor: str | None) -> None:
        """Remember how far the source has been heard."""
        statement = upsert(SourceState).values(title=self._title, cursor=cursor)
        with writing(self._engine) as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["title"], set_={"cursor": cursor})
            )

    def news(self, since: str, removed_before: str) -> list[FileNews]:
        """Return the files classified since then that have said nothing yet, and those removed
        before then that have; none of the latter while the source's folder is not in order."""
        with reading(self._engine) as connection:
            there = connection.exec_driver_sql(_UNSAID, {"source": self._title, "since": since})
            news = [FileNews(path, True) for path in there.scalars()]
            if not self._is_alarmed(connection):
                gone = removals.paths(connection, self._title, removed_before)
                news += [FileNews(path, False) for path in gone]
        return news

    def _is_alarmed(self, connection: Connection) -> bool:
        query = select(SourceState.alarm).where(SourceState.title == self._title)
        return connection.execute(query).scalar() is not None

    def take(self, words: Sequence[Word], now: str, confirmed: bool = False) -> Taken:
        """Take words in. More than a tenth of all labels is taken back only when `confirmed`."""
        said, unsaid = _split(words)
        waiting, unknown, changed = [], [], 0
        with writing(self._engine) as connection:
            for word in said:
                rows = _rows(connection, word.path)
                newest = next((row for row in rows if row.is_current), None)
                if newest is None:
                    unknown.append(word)
                elif newest.image_id is None and newest.state in _WAITING:
                    waiting.append(word)
                elif newest.image_id is not None:
                    changed += self._say(connection, rows, newest, word, now)
            held = 0 if confirmed else self._held(connection, unsaid, now)
            if not held:
                changed += sum(self._unsay_path(connection, word.path, now) for word in unsaid)
        return Taken(changed, tuple(waiting), tuple(unknown), held)

    def _held(self, connection: Connection, unsaid: Sequence[Word], now: str) -> int:
        if not unsaid:
            return 0
        balance = removals.balance(connection, self._title, now)
        return balance.lost if balance.is_too_much else 0

    def _say(
        self, connection: Connection, rows: Iterable[Any], newest: Any, word: Word, now: str
    ) -> int:
        if newest.said == word.label or word.label is None:
            return 0
        _set_said(connection, newest.id, word.label)
        before = [row for row in rows if row.said is not None]
        if any((row.image_id, row.said) == (newest.image_id, word.label) for row in before):
            # The same bytes, written again at the same place: nothing new was said.
            for row in before:
                _set_said(connection, row.id, None)
            return 0
        changed = sum(self._unsay(connection, row, now) for row in before)
        given = Given(newest.image_id, word.label, word.who, word.at)
        return changed + give(connection, [given], self._title, self._many, now)

    def _unsay_path(self, connection: Connection, path: bytes, now: str) -> int:
        rows = [row for row in _rows(connection, path) if row.said is not None]
        return sum(self._unsay(connection, row, now) for row in rows)

    def _unsay(self, connection: Connection, row: Any, now: str) -> int:
        """Take back what a file said, unless another file that is there says the same; where
        another says otherwise, its word counts again."""
        _set_said(connection, row.id, None)
        others = self._others(connection, row.image_id)
        if row.said in others:
            return 0
        changed = retract(connection, row.image_id, now, row.said, self._title)
        if changed and others and not self._many:
            give(connection, [Given(row.image_id, others[0])], self._title, False, now)
        return changed

    def _others(self, connection: Connection, image_id: int) -> list[str]:
        query = (
            select(File.said)
            .where(File.image_id == image_id, File.source == self._title)
            .where(File.is_current == text("1"), File.removed_at.is_(None))
            .where(File.said.is_not(None))
            .order_by(File.id.desc())
        )
        return [str(said) for said in connection.execute(query).scalars()]


def _split(words: Iterable[Word]) -> tuple[list[Word], list[Word]]:
    """Part words that say something from those that take something back."""
    said: list[Word] = []
    unsaid: list[Word] = []
    for word in words:
        (unsaid if word.label is None else said).append(word)
    return said, unsaid


def _rows(connection: Connection, path: bytes) -> Sequence[Any]:
    """Return the newest version of a path, and older ones of which something was said."""
    query = select(File.id, File.image_id, File.state, File.is_current, File.said).where(
        File.path == path.decode("utf-8", "backslashreplace"),
        File.path_bytes == path,
        (File.is_current == text("1")) | File.said.is_not(None),
    )
    return connection.execute(query).all()


def _set_said(connection: Connection, file_id: int, said: str | None) -> None:
    connection.execute(update(File).where(File.id == file_id).values(said=said))
