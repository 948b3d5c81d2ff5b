"""Recording a finished batch: predictions, states and events, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Update, bindparam, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from daemon.domain import BatchResult, FileStat, FileState, Outcome, OutcomeKind
from daemon.store.changes import Again, Change, change_of
from daemon.store.database import writing
from daemon.store.labels import image_row
from daemon.store.outbox import publish
from daemon.store.rows import STAT_COLUMNS
from daemon.store.schema import File, Image, Prediction

# Built once: SQLAlchemy takes longer to build a statement than SQLite to execute it.
_ROWS = select(
    File.id,
    File.path,
    File.path_bytes,
    File.source,
    File.attempts,
    *STAT_COLUMNS,
    File.state,
    File.claimed_by,
).where(File.id.in_(bindparam("ids", expanding=True)))
_ADD_IMAGES = insert_or_ignore(Image).on_conflict_do_nothing()
_ADD_PREDICTIONS = insert_or_ignore(Prediction).on_conflict_do_nothing()
_IMAGES = select(Image.sha256, Image.id).where(
    Image.sha256.in_(bindparam("hashes", expanding=True))
)
_PREDICTIONS = select(Prediction.image_id, Prediction.id, Prediction.label).where(
    Prediction.image_id.in_(bindparam("images", expanding=True)),
    Prediction.model_version_id == bindparam("version"),
)
_TOLD = select(*Prediction.__table__.columns).where(
    Prediction.id.in_(bindparam("ids", expanding=True))
)
_POINT = (
    update(File)
    .where(File.image_id == bindparam("b_image"), File.state == text("'done'"))
    .values(
        prediction_id=bindparam("b_prediction"),
        label=bindparam("b_label"),
        classified_at=bindparam("b_now"),
    )
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written: counts by outcome, and the files that must settle again."""

    counts: Mapping[OutcomeKind, int]
    unsettled: tuple[tuple[bytes, FileStat], ...]


@dataclass(frozen=True, slots=True)
class _Row:
    file_id: int
    path: str
    path_bytes: bytes
    source: str
    attempts: int

    def about(self) -> dict[str, Any]:
        """Return what every event tells of the file."""
        told = {"path": self.path, "source": self.source}
        is_exact = self.path.encode() == self.path_bytes
        return told if is_exact else told | {"path_hex": self.path_bytes.hex()}


class Recorder:
    """Writes what workers found."""

    def __init__(self, engine: Engine, owner: str, sinks: Sequence[str], again: Again) -> None:
        self._engine = engine
        self._owner = owner
        self._sinks = tuple(sinks)
        self._again = again

    def record(self, result: BatchResult, now: str) -> Recorded:
        """Write one batch. Outcomes of rows that have moved on meanwhile are dropped."""
        version = result.batch.model_version_id
        with writing(self._engine) as connection:
            rows = self._rows(connection, result)
            valid = [outcome for outcome in result.outcomes if outcome.file_id in rows]
            seen = _of_same_contents(result.outcomes, valid)
            _insert_images(connection, seen, now)
            images = _image_ids(connection, seen)
            _insert_predictions(connection, seen, images, version, now)
            predictions = _predictions(connection, images.values(), version)
            changes = []
            if result.batch.moves_state:
                changes = [self._change(o, rows, images, predictions, now) for o in valid]
                _update_files(connection, changes)
            else:
                _point_files(connection, predictions, now)
            if self._sinks:
                told = _told_of(connection, predictions)
                events = [*_classified(valid, rows, images, told), *_failed(changes, rows)]
                publish(connection, events, self._sinks, now)
        return _summary(valid, rows)

    def _rows(self, connection: Connection, result: BatchResult) -> dict[int, _Row]:
        """Return the rows that an outcome still speaks of: same version, still claimed by us."""
        claimed = {ref.file_id: ref.stat for ref in result.batch.files}
        return {
            row.id: _Row(row.id, row.path, row.path_bytes, row.source, row.attempts)
            for row in connection.execute(_ROWS, {"ids": list(claimed)})
            if FileStat(row.size, row.mtime_ns, row.inode) == claimed[row.id]
            and (not result.batch.moves_state or self._is_ours(row))
        }

    def _is_ours(self, row: Any) -> bool:
        return bool(row.state == FileState.CLAIMED and row.claimed_by == self._owner)

    def _change(
        self,
        outcome: Outcome,
        rows: Mapping[int, _Row],
        images: Mapping[str, int],
        predictions: Mapping[int, Any],
        now: str,
    ) -> Change:
        image_id = images.get(outcome.sha256 or "")
        prediction = None if image_id is None else predictions.get(image_id)
        attempts = rows[outcome.file_id].attempts
        return change_of(outcome, attempts, image_id, prediction, self._again, now)


def _of_same_contents(outcomes: Iterable[Outcome], valid: Iterable[Outcome]) -> list[Outcome]:
    """Return the valid outcomes and those of other files with the same bytes: when the file that
    was decoded has moved on, what was seen of its bytes is still true for its duplicates."""
    hashes = {outcome.sha256 for outcome in valid if outcome.sha256}
    return [outcome for outcome in outcomes if outcome.sha256 in hashes]


_Events = list[tuple[str, dict[str, Any]]]


def _classified(
    outcomes: Iterable[Outcome],
    rows: Mapping[int, _Row],
    images: Mapping[str, int],
    told: Mapping[int, Any],
) -> _Events:
    return [
        (
            "classified",
            rows[outcome.file_id].about()
            | {"sha256": outcome.sha256}
            | told[images[outcome.sha256]],
        )
        for outcome in outcomes
        if outcome.kind in (OutcomeKind.CLASSIFIED, OutcomeKind.KNOWN) and outcome.sha256
    ]


def _failed(changes: Iterable[Mapping[str, Any]], rows: Mapping[int, _Row]) -> _Events:
    return [
        ("failed", rows[change["b_id"]].about() | {"reason": change["reason"]})
        for change in changes
        if change["state"] == FileState.QUARANTINED
    ]


def _told_of(connection: Connection, predictions: Mapping[int, Any]) -> dict[int, dict[str, Any]]:
    """Return what events tell of predictions, by image."""
    ids = [prediction.id for prediction in predictions.values()]
    return {
        row.image_id: {
            "label": row.label,
            "confidence": row.confidence,
            "is_unknown": row.is_unknown,
            "top": row.top_k,
            "model_version_id": row.model_version_id,
        }
        for row in connection.execute(_TOLD, {"ids": ids})
    }


def _insert_images(connection: Connection, outcomes: Iterable[Outcome], now: str) -> None:
    facts = {outcome.image.sha256: outcome.image for outcome in outcomes if outcome.image}
    rows = [image_row(image, now) for image in facts.values()]
    if rows:
        connection.execute(_ADD_IMAGES, rows)


def _image_ids(connection: Connection, outcomes: Iterable[Outcome]) -> dict[str, int]:
    hashes = {outcome.sha256 for outcome in outcomes if outcome.sha256}
    found = connection.execute(_IMAGES, {"hashes": list(hashes)})
    return {row.sha256: row.id for row in found}


def _insert_predictions(
    connection: Connection,
    outcomes: Iterable[Outcome],
    images: Mapping[str, int],
    version: int,
    now: str,
) -> None:
    rows = [
        {
            "image_id": images[outcome.sha256],
            "model_version_id": version,
            "label": outcome.verdict.label,
            "confidence": outcome.verdict.confidence,
            "top_k": [[score.label, score.confidence] for score in outcome.verdict.top],
            "is_unknown": outcome.verdict.is_unknown,
            "predicted_at": now,
        }
        for outcome in outcomes
        if outcome.verdict is not None and outcome.sha256 is not None
    ]
    if rows:
        connection.execute(_ADD_PREDICTIONS, rows)


def _predictions(connection: Connection, images: Iterable[int], version: int) -> dict[int, Any]:
    """Return id and label of what the version says of each image, by image."""
    values = {"images": list(images), "version": version}
    return {row.image_id: row for row in connection.execute(_PREDICTIONS, values)}


def _update_files(connection: Connection, changes: Sequence[dict[str, Any]]) -> None:
    """Update by groups that set the same columns: one prepared statement a group."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for change in changes:
        groups.setdefault(tuple(change), []).append(change)
    for columns, rows in groups.items():
        connection.execute(_update_of(columns), rows)


@cache
def _update_of(columns: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in columns if name != "b_id"}
    return update(File).where(File.id == bindparam("b_id")).values(values)


def _point_files(connection: Connection, predictions: Mapping[int, Any], now: str) -> None:
    """Let every done file of these images show the newer prediction."""
    rows = [
        {"b_image": image_id, "b_prediction": row.id, "b_label": row.label, "b_now": now}
        for image_id, row in predictions.items()
    ]
    if rows:
        connection.execute(_POINT, rows)


def _summary(outcomes: Iterable[Outcome], rows: Mapping[int, _Row]) -> Recorded:
    counts: dict[OutcomeKind, int] = {}
    unsettled = []
    for outcome in outcomes:
        counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
        if outcome.kind is OutcomeKind.CHANGED and outcome.stat is not None:
            unsettled.append((rows[outcome.file_id].path_bytes, outcome.stat))
    return Recorded(counts, tuple(unsettled))
