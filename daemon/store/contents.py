"""Files and images that a command names: what the database has of them, and labels for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from daemon.domain import FileStat, FileState, ImageFacts
from daemon.store.database import reading, writing
from daemon.store.giving import Given, current, give, retract
from daemon.store.labels import image_row
from daemon.store.schema import File, Image, Label

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A path's newest version, and its image where that is known."""

    stat: FileStat
    is_there: bool
    image_id: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class ForImage:
    """A label for the image of a file; `facts` where the image may be new."""

    path: bytes
    stat: FileStat
    sha256: str
    facts: ImageFacts | None
    label: str
    who: str | None = None
    at: str | None = None


class KnownFiles:
    """Reads and writes what commands need; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def file(self, path: bytes) -> KnownFile | None:
        """Return what is known of a path, None where it was never seen."""
        query = (
            select(File.size, File.mtime_ns, File.inode, File.state, File.removed_at)
            .add_columns(File.image_id, Image.sha256)
            .outerjoin(Image, Image.id == File.image_id)
            .where(File.path_bytes == path, File.is_current == text("1"))
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        is_there = row.removed_at is None and row.state != FileState.GONE
        return KnownFile(FileStat(*row[:3]), is_there, row.image_id, row.sha256 or "")

    def image(self, sha256: str) -> int | None:
        """Return the image of these contents, None where there is none yet."""
        query = select(Image.id).where(Image.sha256 == sha256)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()

    def labels(self, images: Iterable[int]) -> dict[int, list[str]]:
        """Return the labels that images have now."""
        wanted = list(images)
        found: dict[int, list[str]] = {}
        with reading(self._engine) as connection:
            for start in range(0, len(wanted), _CHUNK):
                for row in current(connection, wanted[start : start + _CHUNK]):
                    found.setdefault(row.image_id, []).append(row.label)
        return found

    def classes(self) -> set[str]:
        """Return every class that some image has now."""
        query = select(Label.label).where(Label.retracted_at.is_(None)).distinct()
        with reading(self._engine) as connection:
            return set(connection.execute(query).scalars())

    def give(
        self, labels: Sequence[ForImage], source: str, many: bool, now: str, again: bool = False
    ) -> int:
        """Write images that are new, and their labels; returns how many labels are new.

        With `again` a label that an image has already counts as new.
        """
        with writing(self._engine) as connection:
            facts = {each.sha256: each.facts for each in labels if each.facts is not None}
            if facts:
                rows = [image_row(image, now) for image in facts.values()]
                connection.execute(insert_or_ignore(Image).on_conflict_do_nothing(), rows)
            ids = _ids(connection, {each.sha256 for each in labels})
            for each in labels:
                _point(connection, each, ids[each.sha256])
            return give(connection, _given(labels, ids), source, many, now, again)

    def retract(self, image_id: int, label: str | None, now: str) -> int:
        """Retract an image's labels, or one of them; returns how many."""
        with writing(self._engine) as connection:
            return retract(connection, image_id, now, label)


def _given(labels: Iterable[ForImage], ids: Mapping[str, int]) -> list[Given]:
    return [Given(ids[each.sha256], each.label, each.who, each.at) for each in labels]


def _ids(connection: Connection, hashes: Iterable[str]) -> dict[str, int]:
    wanted, found = list(hashes), {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        query = select(Image.sha256, Image.id).where(Image.sha256.in_(chunk))
        found.update({row.sha256: row.id for row in connection.execute(query)})
    return found


def _point(connection: Connection, label: ForImage, image_id: int) -> None:
    """Let the row of a file that is still to be classified show its image already."""
    connection.execute(
        update(File)
        .where(File.path_bytes == label.path, File.is_current == text("1"))
        .where(File.image_id.is_(None), File.state.in_(["settling", "queued", "claimed"]))
        .where(File.size == label.stat.size, File.mtime_ns == label.stat.mtime_ns)
        .values(image_id=image_id)
    )
