"""The inbox in the database: sightings in, claims out. Every method is one transaction.

Sightings and claims do not wait for the disk: after a power failure the files are still there to
be sighted again, and a claim would be void anyway.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from daemon.clock import seconds_between
from daemon.domain import SCAN_TITLE, FileRef, FileStat, FileState, Sighting
from daemon.listing import Listing
from daemon.settle import settles_at_once
from daemon.store.database import reading, writing
from daemon.store.rows import STAT_COLUMNS, at_rest, known_contents, known_rows, new_row, row_values
from daemon.store.schema import File, SourceState
from daemon.transitions import Known, Step, first_state, step

# SQLite uses a partial index only where the query repeats its condition to the letter.
WAITING: ColumnElement[bool] = text(  # type: ignore[assignment]
    "state IN ('settling', 'queued', 'claimed', 'retry')"
)

_NONE: frozenset[str] = frozenset()
_OLDEST = (
    select(File.id)
    .where(WAITING, File.state == text("'queued'"))
    .order_by(File.next_try_at, File.id)
    .limit(bindparam("most"))
)
_CLAIM = (
    update(File)
    .where(File.id.in_(_OLDEST.correlate(None)))
    .values(
        state=text("'claimed'"),
        claimed_by=bindparam("b_owner"),
        lease_until=bindparam("b_lease"),
        state_at=bindparam("b_now"),
    )
    .returning(File.id, File.path_bytes, *STAT_COLUMNS, File.attempts, File.found_at)
)
_SETTLING = (
    select(File.path_bytes, *STAT_COLUMNS)
    .where(WAITING, File.state == text("'settling'"))
    .order_by(File.next_try_at.desc(), File.id.desc())
    .limit(bindparam("most"))
)
_DUE = (
    WAITING,
    File.state == text("'retry'"),
    or_(File.next_try_at <= bindparam("b_now"), File.next_try_at > bindparam("b_latest")),
)
_ANY_DUE = select(File.id).where(*_DUE).limit(1)
_REQUEUE = (
    update(File)
    .where(*_DUE)
    .values(state=text("'queued'"), next_try_at=None, state_at=bindparam("b_now"))
)
_THERE = (
    select(File.id)
    # The plus keeps SQLite from the source's index, which it would sort anew for each page.
    .where(File.id > bindparam("last"), text("+source = :source"))
    .where(File.is_current == text("1"), File.removed_at.is_(None))
    .where(File.state != text("'gone'"), File.found_at < bindparam("began"))
    .order_by(File.id)
    .limit(bindparam("most"))
)
_QUEUED = select(func.count()).select_from(
    select(File.id)
    .where(WAITING, File.state == text("'queued'"))
    .limit(bindparam("most"))
    .subquery()
)


@dataclass(frozen=True, slots=True)
class Sighted:
    """What became of sightings: those that must settle yet, and how many rows are new."""

    settling: tuple[Sighting, ...]
    fresh: int


class Inbox:
    """The durable queue of files."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    def sighted(
        self, source: str, sightings: Sequence[Sighting], now: str, listing: Listing | None = None
    ) -> Sighted:
        """Take in sightings of one source, at most a few thousand at once."""
        latest = {sighting.path: sighting for sighting in sightings}
        with reading(self._engine) as connection:
            if listing is not None:
                unchanged = at_rest(connection, source, latest)
                listing.meet(unchanged.values())
                latest = {path: one for path, one in latest.items() if path not in unchanged}
            known = known_rows(connection, latest)
            if listing is not None:
                listing.meet(row.file_id for row in known.values())
            orphans = _orphans(connection, source, known, latest.values())
        if not orphans and all(_step(known, one) is Step.NOTHING for one in latest.values()):
            return Sighted(_settling(known, latest.values()), 0)
        with writing(self._engine, durable=False) as connection:
            known = known_rows(connection, latest)
            _set(connection, known, orphans, source=source)
            fresh = self._apply(connection, source, known, latest.values(), now)
        return Sighted(self._unsettled(known, latest.values()), fresh)

    def _apply(
        self,
        connection: Connection,
        source: str,
        known: dict[bytes, Known],
        sightings: Iterable[Sighting],
        now: str,
    ) -> int:
        todo: dict[Step, list[Sighting]] = {kind: [] for kind in Step}
        for sighting in sightings:
            todo[_step(known, sighting)].append(sighting)
        _set(connection, known, todo[Step.SUPERSEDE], is_current=False)
        _set(connection, known, todo[Step.RETURN], removed_at=None)
        fresh = [*todo[Step.INSERT], *todo[Step.SUPERSEDE]]
        if fresh:
            connection.execute(insert(File), [new_row(source, s, now) for s in fresh])
        if todo[Step.REVISE]:
            rows = [
                {"b_id": known[s.path].file_id, "source": source, **row_values(s, now)}
                for s in todo[Step.REVISE]
            ]
            statement = update(File).where(File.id == bindparam("b_id"))
            connection.execute(statement, rows)
        return len(fresh)

    @staticmethod
    def _unsettled(
        known: dict[bytes, Known], sightings: Iterable[Sighting]
    ) -> tuple[Sighting, ...]:
        def unsettled(sighting: Sighting) -> bool:
            kind = _step(known, sighting)
            if kind in (Step.INSERT, Step.SUPERSEDE, Step.REVISE):
                return first_state(sighting, settles_at_once(sighting))[0] is FileState.SETTLING
            return kind is Step.NOTHING and known[sighting.path].state is FileState.SETTLING

        return tuple(filter(unsettled, sightings))

    def missing(self, paths: Sequence[bytes], now: str) -> None:
        """These paths are no longer there: unread rows are `gone`, read ones are removed."""
        newest = (File.path_bytes.in_(list(paths)), File.is_current == text("1"))
        with writing(self._engine) as connection:
            connection.execute(
                update(File)
                .where(*newest, File.state.in_(["settling", "queued", "retry"]))
                .values(state=FileState.GONE, reason="vanished before it was read", state_at=now)
            )
            connection.execute(
                update(File)
                .where(*newest, File.state != FileState.GONE, File.removed_at.is_(None))
                .values(removed_at=now)
            )

    def unlisted(self, listing: Listing, page: int = 10_000) -> Iterable[list[bytes]]:
        """Yield, in pages, the paths of the source that a finished walk has not met."""
        last = 0
        while True:
            values = {"last": last, "source": listing.source, "began": listing.began_at}
            with reading(self._engine) as connection:
                there = connection.execute(_THERE, values | {"most": page}).scalars().all()
                unmet = [file_id for file_id in there if not listing.has_met(file_id)]
                query = select(File.path_bytes).where(File.id.in_(unmet)).order_by(File.id)
                paths = list(connection.execute(query).scalars()) if unmet else []
            if not there:
                return
            last = there[-1]
            yield paths

    def settled(self, paths: Sequence[bytes], now: str) -> None:
        """These files are whole: they may be claimed."""
        if paths:
            with writing(self._engine) as connection:
                connection.execute(
                    update(File)
                    .where(File.path_bytes.in_(list(paths)), File.is_current == text("1"))
                    .where(File.state == FileState.SETTLING)
                    .values(state=FileState.QUEUED, state_at=now)
                )

    def revised(self, files: Sequence[tuple[bytes, FileStat]], now: str) -> None:
        """These settling files look different now: their rows take the new values."""
        if files:
            rows = [
                {"b_path": path, "size": s.size, "mtime_ns": s.mtime_ns, "inode": s.inode}
                for path, s in files
            ]
            with writing(self._engine) as connection:
                connection.execute(
                    update(File)
                    .where(File.path_bytes == bindparam("b_path"), File.is_current == text("1"))
                    .where(File.state == text("'settling'"))
                    .values({name: bindparam(name) for name in ("size", "mtime_ns", "inode")})
                    .values(state_at=now),
                    rows,
                )

    def settling(self, most: int) -> list[tuple[bytes, FileStat]]:
        """Return up to `most` of the files that were not whole when last seen, the latest."""
        with reading(self._engine) as connection:
            found = connection.execute(_SETTLING, {"most": most})
            return [(path, FileStat(*stat)) for path, *stat in found]

    def claim(self, most: int, model_version_id: int, now: str, lease: str) -> tuple[FileRef, ...]:
        """Take up to `most` queued files, oldest first, until `lease`."""
        values = {"most": most, "b_owner": self._owner, "b_lease": lease, "b_now": now}
        with writing(self._engine, durable=False) as connection:
            rows = sorted(connection.execute(_CLAIM, values))
            known = known_contents(connection, {row[2] for row in rows}, model_version_id)
        return tuple(
            FileRef(
                file_id,
                path,
                FileStat(size, mtime_ns, inode),
                known.get(size, _NONE),
                attempts,
                seconds_between(found_at, now),
            )
            for file_id, path, size, mtime_ns, inode, attempts, found_at in rows
        )

    def queued(self, most: int) -> int:
        """Return how many files are queued, counted up to `most`."""
        with reading(self._engine) as connection:
            return int(connection.execute(_QUEUED, {"most": most}).scalar_one())

    def release_claims(self, now: str) -> int:
        """Put back what a killed daemon had claimed; returns how many files."""
        with writing(self._engine) as connection:
            return connection.execute(
                update(File)
                .where(WAITING, File.state == FileState.CLAIMED)
                .values(state=FileState.QUEUED, claimed_by=None, lease_until=None, state_at=now)
            ).rowcount

    def requeue_due(self, now: str, latest: str | None = None) -> int:
        """Put back the files whose time to be tried again has come; writes only if there are.

        None waits beyond `latest`: a later time was told by a clock that has been set back since.
        """
        values = {"b_now": now, "b_latest": latest}  # nothing is greater than null
        with reading(self._engine) as connection:
            if connection.execute(_ANY_DUE, values).first() is None:
                return 0
        with writing(self._engine) as connection:
            return connection.execute(_REQUEUE, values).rowcount

    def reexamine_ignored(self, now: str) -> int:
        """Queue again what was ignored for its content: the accepted formats have changed."""
        with writing(self._engine) as connection:
            return connection.execute(
                update(File)
                .where(File.state == FileState.IGNORED, File.is_current == text("1"))
                .where(File.removed_at.is_(None), ~File.reason.startswith("rule: "))
                .values(state=FileState.QUEUED, reason=None, state_at=now)
            ).rowcount

    def retrying(self) -> int:
        """Return how many files are to be tried again later."""
        query = select(func.count()).where(WAITING, File.state == FileState.RETRY)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def unfinished(self, paths: Sequence[bytes], final: Collection[FileState]) -> list[bytes]:
        """Return those of the paths whose newest version is in no final state."""
        left: list[bytes] = []
        with reading(self._engine) as connection:
            for start in range(0, len(paths), 500):
                query = select(File.path_bytes).where(
                    File.path_bytes.in_(list(paths[start : start + 500])),
                    File.is_current == text("1"),
                    File.state.not_in(list(final)),
                )
                left.extend(connection.execute(query).scalars())
        return left


def _orphans(
    connection: Connection, source: str, known: dict[bytes, Known], sightings: Iterable[Sighting]
) -> list[Sighting]:
    """Return the sightings whose row no source follows, so that this one takes it over.

    Where two sources see one file it stays with the first, or each rescan would move it.
    """
    wanted = [one for one in sightings if one.path in known and one.ignored is None]
    foreign = [one for one in wanted if known[one.path].source != source]
    if not foreign or source == SCAN_TITLE:
        return []
    followed = set(connection.execute(select(SourceState.title)).scalars()) - {SCAN_TITLE}
    return [one for one in foreign if known[one.path].source not in followed]


def _settling(known: dict[bytes, Known], sightings: Iterable[Sighting]) -> tuple[Sighting, ...]:
    return tuple(s for s in sightings if known[s.path].state is FileState.SETTLING)


def _step(known: dict[bytes, Known], sighting: Sighting) -> Step:
    return step(known.get(sighting.path), sighting, settles_at_once(sighting))


def _set(
    connection: Connection, known: dict[bytes, Known], of: Sequence[Sighting], **values: Any
) -> None:
    if of:
        ids = [known[sighting.path].file_id for sighting in of]
        connection.execute(update(File).where(File.id.in_(ids)).values(**values))
