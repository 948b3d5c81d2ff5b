"""Labels and sides: what people say of images, and which images are held out for judging."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from daemon.domain import ImageFacts
from daemon.store.database import reading, writing
from daemon.store.giving import Given, give
from daemon.store.schema import Image

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class SidedImage:
    """An image with its label and the side of the split it is on (`train` or `holdout`)."""

    facts: ImageFacts
    label: str
    side: str


class Labels:
    """Records labels; a label is retracted, never deleted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sides(self) -> dict[str, str]:
        """Return the side of every image that has one, by SHA-256: it never changes."""
        query = select(Image.sha256, Image.split).where(Image.split.is_not(None))
        with reading(self._engine) as connection:
            return {sha256: str(side) for sha256, side in connection.execute(query)}

    def record(
        self, images: Sequence[SidedImage], source: str, now: str, many: bool = False
    ) -> None:
        """Write images, their sides (where they have none yet) and their labels.

        `many`: an image may have several labels, so that these retract none.
        """
        with writing(self._engine) as connection:
            for start in range(0, len(images), _CHUNK):
                _record(connection, images[start : start + _CHUNK], source, many, now)


def _record(
    connection: Connection, images: Sequence[SidedImage], source: str, many: bool, now: str
) -> None:
    connection.execute(
        insert_or_ignore(Image).on_conflict_do_nothing(),
        [image_row(labelled.facts, now) for labelled in images],
    )
    hashes = [labelled.facts.sha256 for labelled in images]
    query = select(Image.sha256, Image.id).where(Image.sha256.in_(hashes))
    ids = {row.sha256: row.id for row in connection.execute(query)}
    connection.execute(
        update(Image)
        .where(Image.id == bindparam("b_id"), Image.split.is_(None))
        .values(split=bindparam("b_side"), split_at=now),
        [{"b_id": ids[i.facts.sha256], "b_side": i.side} for i in images],
    )
    give(connection, [Given(ids[i.facts.sha256], i.label) for i in images], source, many, now)


def image_row(image: ImageFacts, now: str) -> dict[str, Any]:
    """Return the row of a newly met image."""
    return {
        "sha256": image.sha256,
        "size": image.size,
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "taken_at": image.taken_at,
        "phash": image.phash,
        "first_seen_at": now,
    }
