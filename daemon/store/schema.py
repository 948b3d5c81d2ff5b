"""The tables, typed. Times are text, UTC ISO-8601 (`2026-05-01T12:00:00.000Z`), which sorts."""

from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from daemon.domain import FileState

IS_WAITING = "delivered_at IS NULL AND given_up_at IS NULL"
"""Which deliveries are still to be made; to the letter as in their index, or it is not used."""

_STATES = ", ".join(f"'{state}'" for state in FileState)


class Base(DeclarativeBase):
    """Common base; constraint names are fixed so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Image(Base):
    """One content, by hash; the same bytes under five paths are one image."""

    __tablename__ = "image"
    __table_args__ = (Index("ix_image_size", "size"), Index("ix_image_taken_at", "taken_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int]
    format: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    taken_at: Mapped[str | None]
    phash: Mapped[str]
    split: Mapped[str | None]
    split_at: Mapped[str | None]
    first_seen_at: Mapped[str]


class ModelVersion(Base):
    """A bundle registered in the database; `digest` is the SHA-256 of its manifest."""

    __tablename__ = "model_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    bundle: Mapped[str]
    backbone: Mapped[str]
    head: Mapped[str]
    classes: Mapped[list[Any]]
    metrics: Mapped[dict[str, Any]]
    training_run_id: Mapped[int | None] = mapped_column(ForeignKey("training_run.id"))
    created_at: Mapped[str]


class Prediction(Base):
    """What one model version says of one image; `top_k` is a list of [label, confidence]."""

    __tablename__ = "prediction"
    __table_args__ = (
        UniqueConstraint("image_id", "model_version_id"),
        Index("ix_prediction_confidence", "confidence"),
        Index("ix_prediction_unknown", "is_unknown", sqlite_where=text("is_unknown = 1")),
        Index("ix_prediction_model_version_id", "model_version_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    label: Mapped[str]
    confidence: Mapped[float]
    top_k: Mapped[list[Any]]
    is_unknown: Mapped[bool]
    predicted_at: Mapped[str]


class File(Base):
    """One version of one path, as found: a row of the inbox.

    `said` is the label that a label source gave the image by this file, once it was taken in, so
    that nothing is said twice; null again once it was taken back.

    `is_current` marks a path's newest version, of which there is exactly one. `label` and
    `classified_at` repeat what the row's own prediction says and when the row got it, so that
    the commonest queries walk one index in order; both are written with `prediction_id`, by
    the same statement.
    """

    __tablename__ = "file"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        Index("uq_file_current", "path_bytes", unique=True, sqlite_where=text("is_current = 1")),
        Index(
            "ix_file_waiting",
            "state",
            "next_try_at",
            "id",
            sqlite_where=text("state IN ('settling', 'queued', 'claimed', 'retry')"),
        ),
        Index("ix_file_path", "path"),
        Index("ix_file_source_classified", "source", "classified_at"),
        Index("ix_file_classified_at", "classified_at"),
        Index("ix_file_label_classified", "label", "classified_at"),
        Index("ix_file_image_id", "image_id"),
        Index("ix_file_prediction_id", "prediction_id"),
        Index(
            "ix_file_failed",
            "state",
            "state_at",
            sqlite_where=text("state IN ('retry', 'quarantined')"),
        ),
        Index(
            "ix_file_said",
            "source",
            "is_current",
            "removed_at",
            sqlite_where=text("said IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    path: Mapped[str]
    path_bytes: Mapped[bytes] = mapped_column(LargeBinary)
    is_current: Mapped[bool]
    size: Mapped[int]
    mtime_ns: Mapped[int]
    inode: Mapped[int]
    state: Mapped[str]
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[str | None]
    claimed_by: Mapped[str | None]
    lease_until: Mapped[str | None]
    found_at: Mapped[str]
    state_at: Mapped[str]
    removed_at: Mapped[str | None]
    image_id: Mapped[int | None] = mapped_column(ForeignKey("image.id"))
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("prediction.id"))
    label: Mapped[str | None]
    classified_at: Mapped[str | None]
    said: Mapped[str | None]


class Label(Base):
    """What a person, or an import, says of one image; retracted but never deleted.

    `labelled_at` is when it was said, which an import may date back; `recorded_at` is when it was
    written down here.
    """

    __tablename__ = "label"
    __table_args__ = (Index("ix_label_image_id", "image_id"), Index("ix_label_label", "label"))

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    label: Mapped[str]
    source: Mapped[str]
    who: Mapped[str | None]
    labelled_at: Mapped[str]
    recorded_at: Mapped[str] = mapped_column(server_default=text("('')"))
    retracted_at: Mapped[str | None]


class Deployment(Base):
    """One activation of a model version; the newest row says which one is active."""

    __tablename__ = "deployment"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    deployed_at: Mapped[str]
    reason: Mapped[str]
    who: Mapped[str | None]


class TrainingRun(Base):
    """One attempt to make a challenger, with all that is needed to repeat and to judge it.

    `state` is `running`, `finished`, `failed` or `interrupted`; `progress` is the step it is at,
    while it runs.
    """

    __tablename__ = "training_run"

    id: Mapped[int] = mapped_column(primary_key=True)
    strategy: Mapped[str]
    state: Mapped[str]
    started_at: Mapped[str]
    finished_at: Mapped[str | None]
    plan: Mapped[dict[str, Any]]
    data: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    verdict: Mapped[dict[str, Any] | None]
    progress: Mapped[dict[str, Any] | None]
    log: Mapped[str | None]


class Event(Base):
    """Something that happened, for sinks; written in the transaction that made it true."""

    __tablename__ = "event"
    # Sinks recognise a repeated event by its id, so an id is never given twice.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    happened_at: Mapped[str]
    payload: Mapped[dict[str, Any]]


class Delivery(Base):
    """One event on its way to one sink.

    `attempts` is how often the sink rejected the event, `next_try_at` when it is offered again,
    `error` why; after the last try `given_up_at` is set, and it is offered no more.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_waiting", "sink", "event_id", sqlite_where=text(IS_WAITING)),
        Index(
            "ix_delivery_given_up",
            "sink",
            "event_id",
            sqlite_where=text("given_up_at IS NOT NULL"),
        ),
    )

    event_id: Mapped[int] = mapped_column(ForeignKey("event.id"), primary_key=True)
    sink: Mapped[str] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[str | None]
    delivered_at: Mapped[str | None]
    error: Mapped[str | None]
    given_up_at: Mapped[str | None]


class SinkState(Base):
    """How each sink is, for `status`: `failures` in a row, the last one's `error`, until when the
    sink is left alone (`next_try_at`), and when it last took an event."""

    __tablename__ = "sink_state"

    name: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]
    next_try_at: Mapped[str | None]
    delivered_at: Mapped[str | None]


class SourceState(Base):
    """What each source last told of itself, for `status`; `alarm` is None when all is well,
    `note` is the source's own, kept for it over restarts, and `cursor` is how far a label source
    has been heard."""

    __tablename__ = "source_state"

    title: Mapped[str] = mapped_column(primary_key=True)
    watching: Mapped[str | None]
    alarm: Mapped[str | None]
    alarm_at: Mapped[str | None]
    listed_at: Mapped[str | None]
    note: Mapped[str | None]
    cursor: Mapped[str | None]


class Request(Base):
    """What a command asks of the running daemon; taken in order, once."""

    __tablename__ = "request"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    argument: Mapped[dict[str, Any]]
    asked_at: Mapped[str]
    taken_at: Mapped[str | None]
    finished_at: Mapped[str | None]
    outcome: Mapped[str | None]


class Heartbeat(Base):
    """The one row in which the daemon tells how it is; `detail` holds figures for `status`."""

    __tablename__ = "heartbeat"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    pid: Mapped[int]
    phase: Mapped[str]
    started_at: Mapped[str]
    beat_at: Mapped[str]
    detail: Mapped[dict[str, Any]]
