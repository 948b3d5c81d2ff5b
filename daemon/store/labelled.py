"""The labelled images, now or as they stood once: what training learns from and judges by."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, or_, select, update

from daemon.learning.sides import Side
from daemon.store.database import reading, writing
from daemon.store.schema import File, Image, Label


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One content (SHA-256) with its labels, the newest first, and its side where it has one.

    `paths` are the files that hold it and were there when last looked at; `folder` is that of
    its first file, there or not. `phash` and `taken_at` are as in `image`.
    """

    sha256: str
    labels: tuple[str, ...]
    side: Side | None
    phash: str
    taken_at: str | None
    folder: str
    paths: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """The newest of its labels."""
        return self.labels[0]


class LabelledImages:
    """Reads labelled images, and writes their sides."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def now(self) -> list[LabelledImage]:
        """Return the images that have a label now, by SHA-256."""
        return self._read(Label.retracted_at.is_(None))

    def as_of(self, then: str) -> list[LabelledImage]:
        """Return the images as they were labelled at a moment, UTC ISO-8601."""
        still = or_(Label.retracted_at.is_(None), Label.retracted_at > then)
        return self._read(Label.recorded_at <= then, still)

    def ever(self) -> list[LabelledImage]:
        """Return all images that ever had a label, whatever became of it."""
        return self._read()

    def without_side(self) -> bool:
        """Tell whether a labelled image is on no side yet."""
        query = select(Image.id).join(Label, Label.image_id == Image.id)
        query = query.where(Image.split.is_(None)).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None

    def place(self, sides: Mapping[str, Side], now: str) -> None:
        """Put images (SHA-256) on their sides; one that has a side keeps it."""
        statement = update(Image).where(Image.sha256 == bindparam("b_sha256"))
        statement = statement.where(Image.split.is_(None))
        statement = statement.values(split=bindparam("b_side"), split_at=now)
        rows = [{"b_sha256": sha256, "b_side": side} for sha256, side in sides.items()]
        if rows:
            with writing(self._engine) as connection:
                connection.execute(statement, rows)

    def _read(self, *where: ColumnElement[bool]) -> list[LabelledImage]:
        query = (
            select(Image.id, Image.sha256, Image.split, Image.phash, Image.taken_at, Label.label)
            .join(Label, Label.image_id == Image.id)
            .where(*where)
            .order_by(Image.sha256, Label.id.desc())
        )
        rows: dict[str, list[Any]] = defaultdict(list)
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                rows[row.sha256].append(row)
            files = _files(connection)
        return [_image(told, files[told[0].id]) for told in rows.values()]


def _files(connection: Connection) -> dict[int, list[Any]]:
    """Return the newest files of every labelled image, oldest row first."""
    query = (
        select(File.image_id, File.path_bytes, File.removed_at)
        .where(File.is_current, File.image_id.in_(select(Label.image_id)))
        .order_by(File.id)
    )
    files: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        files[row.image_id].append(row)
    return files


def _image(told: list[Any], files: list[Any]) -> LabelledImage:
    first = told[0]
    paths = [Path(os.fsdecode(row.path_bytes)) for row in files]
    there = [path for path, row in zip(paths, files, strict=True) if row.removed_at is None]
    return LabelledImage(
        first.sha256,
        tuple(dict.fromkeys(row.label for row in told)),
        first.split,
        first.phash,
        first.taken_at,
        str(paths[0].parent) if paths else "",
        tuple(there),
    )
