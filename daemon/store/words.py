"""What label sources say, against the files they say it of. Every method is one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daemon.contracts import FileNews, Word
from daemon.domain import FileState
from daemon.store import removals
from daemon.store.database import reading, writing
from daemon.store.giving import Given, give, retract
from daemon.store.schema import File, SourceState
from daemon.text import display_path

_WAITING = frozenset({FileState.SETTLING, FileState.QUEUED, FileState.CLAIMED, FileState.RETRY})

_TROUBLE = "its labels: "

# Files of the source that were classified and have said nothing yet.
_UNSAID = """
    SELECT path_bytes FROM file
    WHERE source = :source AND classified_at >= :since AND state = 'done'
      AND is_current = 1 AND removed_at IS NULL AND said IS NULL
    ORDER BY classified_at
"""


# The index is named because SQLite would take one that most rows share.
_OTHERS = """
    SELECT said FROM file INDEXED BY ix_file_image_id
    WHERE image_id = :image AND source = :source AND said IS NOT NULL
      AND is_current = 1 AND removed_at IS NULL
    ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of words: how many labels changed, whose files wait to be read, and whose
    files nobody knows."""

    changed: int
    waiting: tuple[Word, ...]
    unknown: tuple[Word, ...]


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

    def alarm(self, trouble: str | None, now: str) -> None:
        """Let `status` tell that the source cannot be heard; None: it can again. An alarm of the
        source's folder stays as it is."""
        values = {"alarm": trouble and _TROUBLE + trouble, "alarm_at": trouble and now}
        mine = (SourceState.title == self._title, SourceState.alarm.startswith(_TROUBLE))
        with writing(self._engine) as connection:
            if trouble is None:
                connection.execute(update(SourceState).where(*mine).values(values))
            elif not self._is_alarmed(connection):
                row = upsert(SourceState).values(title=self._title, **values)
                connection.execute(row.on_conflict_do_update(index_elements=["title"], set_=values))

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

    def held(self, now: str) -> int:
        """Return how many labels the removed files of the source would take along, if that is
        too many at once; else 0."""
        with reading(self._engine) as connection:
            balance = removals.balance(connection, self._title, now)
        return balance.lost if balance.is_too_much else 0

    def take(self, words: Iterable[Word], now: str) -> Taken:
        """Take words in; of those on one file the last counts."""
        latest = {word.path: word for word in words}
        if not latest:
            return Taken(0, (), ())
        waiting, unknown, plain, changed = [], [], [], 0
        with writing(self._engine) as connection:
            versions = _versions(connection, list(latest))
            for word in latest.values():
                rows = versions.get(word.path, [])
                newest = next((row for row in rows if row.is_current), None)
                if word.label is None:
                    changed += sum(self._unsay(connection, row, now) for row in rows if row.said)
                elif newest is None:
                    unknown.append(word)
                elif newest.image_id is None:
                    waiting += [word] if newest.state in _WAITING else []
                elif any(row.said for row in rows):
                    changed += self._say(connection, rows, newest, word, now)
                else:
                    plain.append((newest, word))
            changed += self._say_first(connection, plain, now)
        return Taken(changed, tuple(waiting), tuple(unknown))

    def _say_first(
        self, connection: Connection, words: Sequence[tuple[Any, Word]], now: str
    ) -> int:
        """Say what nothing was said of before, all at once."""
        given = [Given(row.image_id, str(w.label), w.who, w.at) for row, w in words]
        said = [{"b_id": row.id, "b_said": word.label} for row, word in words]
        if said:
            statement = update(File).where(File.id == bindparam("b_id"))
            connection.execute(statement.values(said=bindparam("b_said")), said)
        return give(connection, given, self._title, self._many, now)

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
        """Return what other files of the source that are there say of an image, newest first."""
        values = {"image": image_id, "source": self._title}
        return list(connection.exec_driver_sql(_OTHERS, values).scalars())


def _versions(connection: Connection, paths: Sequence[bytes]) -> dict[bytes, list[Any]]:
    """Return the newest version of each path, and older ones of which something was said."""
    columns = (File.id, File.path_bytes, File.image_id, File.state, File.is_current, File.said)
    newest = select(*columns).where(File.path_bytes.in_(paths), File.is_current == text("1"))
    shown = [display_path(path) for path in paths]
    older = select(*columns).where(
        File.path.in_(shown), File.is_current == text("0"), File.said.is_not(None)
    )
    found: dict[bytes, list[Any]] = {}
    for row in [*connection.execute(newest), *connection.execute(older)]:
        found.setdefault(row.path_bytes, []).append(row)
    return found


def _set_said(connection: Connection, file_id: int, said: str | None) -> None:
    connection.execute(update(File).where(File.id == file_id).values(said=said))
