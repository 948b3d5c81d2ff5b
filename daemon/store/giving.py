"""Labels on images: given, and retracted but never deleted. For use inside a transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from daemon.store.schema import Label

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Given:
    """A label for an image; `at` is when it was said, None: now."""

    image_id: int
    label: str
    who: str | None = None
    at: str | None = None


def give(
    connection: Connection,
    given: Iterable[Given],
    source: str,
    many: bool,
    now: str,
    again: bool = False,
) -> int:
    """Give labels; returns how many are new.

    `many`: an image may have several labels. Else the last word counts, whoever had said
    otherwise before. A label that an image has already is not given twice; with `again` it takes
    the place of the older one, as the word of somebody who looked once more.
    """
    wanted = {(each.image_id, each.label if many else ""): each for each in given}
    return sum(
        _give_some(connection, some, source, many, now, again)
        for some in _chunks(list(wanted.values()))
    )


def _chunks(given: Sequence[Given]) -> Iterator[Sequence[Given]]:
    for start in range(0, len(given), _CHUNK):
        yield given[start : start + _CHUNK]


def _give_some(
    connection: Connection, given: Sequence[Given], source: str, many: bool, now: str, again: bool
) -> int:
    rows = current(connection, [each.image_id for each in given])
    if not many:
        wanted = {each.image_id: each.label for each in given}
        _retract(connection, [row.id for row in rows if row.label != wanted[row.image_id]], now)
    there = {(row.image_id, row.label) for row in rows}
    if again:
        repeated = there & {(each.image_id, each.label) for each in given}
        _retract(connection, [row.id for row in rows if (row.image_id, row.label) in repeated], now)
        there -= repeated
    fresh = [_row(each, source, now) for each in given if (each.image_id, each.label) not in there]
    if fresh:
        connection.execute(insert(Label), fresh)
    return len(fresh)


def _row(given: Given, source: str, now: str) -> dict[str, Any]:
    return {
        "image_id": given.image_id,
        "label": given.label,
        "source": source,
        "who": given.who,
        "labelled_at": given.at or now,
        "recorded_at": now,
    }


def current(connection: Connection, images: Sequence[int]) -> Sequence[Any]:
    """Return the labels (id, image_id, label, source) that images have now."""
    query = select(Label.id, Label.image_id, Label.label, Label.source).where(
        Label.image_id.in_(list(images)), Label.retracted_at.is_(None)
    )
    return connection.execute(query).all()


def retract(
    connection: Connection,
    image_id: int,
    now: str,
    label: str | None = None,
    source: str | None = None,
) -> int:
    """Retract an image's labels, or only a certain one, or only a source's; returns how many."""
    found = [
        row.id
        for row in current(connection, [image_id])
        if label in (None, row.label) and source in (None, row.source)
    ]
    return _retract(connection, found, now)


def _retract(connection: Connection, label_ids: Sequence[int], now: str) -> int:
    if label_ids:
        statement = update(Label).where(Label.id.in_(list(label_ids))).values(retracted_at=now)
        connection.execute(statement)
    return len(label_ids)
