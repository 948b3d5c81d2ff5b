"""The holdout as the database has it: who belongs to it, since when, and where the files are."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from daemon.store.database import reading
from daemon.store.schema import Deployment, File, Image, Label, ModelVersion, TrainingRun

GATE_ALLOWED = "allowed by the gate"
"""The reason of a deployment that moves the holdout which the gate judges by; no other does."""


@dataclass(frozen=True, slots=True)
class Member:
    """A held-out image, its class, and the paths where it lay when last seen.

    `is_settled`: it was a member at the last deployment that the gate allowed, and already when
    that model's run looked at the labels: what was labelled while the run went on, nothing has
    been learned beside yet. `label` is then the one it had at that time.
    """

    sha256: str
    label: str
    is_settled: bool
    paths: tuple[Path, ...] = ()


class Holdout:
    """Reads who is held out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def members(self) -> list[Member]:
        """Return the members by SHA-256.

        A settled member whose class has no label left anywhere (renamed, or given up) counts as
        its present label, or not at all.
        """
        with reading(self._engine) as connection:
            since = _settled_at(connection)
            used = _used_classes(connection)
            paths = _paths(connection)
            told = _told(connection)
        members = []
        for sha256 in sorted(told):
            stood = _stood(told[sha256], since)
            now = _last(row for row in told[sha256] if row.retracted_at is None)
            label = stood if stood in used else now
            if label is not None:
                is_settled = stood is not None and label == stood
                members.append(Member(sha256, label, is_settled, tuple(paths[sha256])))
        return members


def _settled_at(connection: Connection) -> str | None:
    learned = TrainingRun.plan["as_of"].as_string()
    query = (
        select(func.coalesce(learned, Deployment.deployed_at))
        .join(ModelVersion, ModelVersion.id == Deployment.model_version_id)
        .outerjoin(TrainingRun, TrainingRun.id == ModelVersion.training_run_id)
        .where(Deployment.reason == GATE_ALLOWED)
        .order_by(Deployment.id.desc())
    )
    return connection.execute(query.limit(1)).scalar()


def _used_classes(connection: Connection) -> set[str]:
    query = select(Label.label).where(Label.retracted_at.is_(None)).distinct()
    return set(connection.execute(query).scalars())


def _paths(connection: Connection) -> dict[str, list[Path]]:
    query = (
        select(Image.sha256, File.path_bytes)
        .join(Image, Image.id == File.image_id)
        .where(Image.split == "holdout", File.is_current, File.removed_at.is_(None))
        .order_by(File.id)
    )
    paths: dict[str, list[Path]] = defaultdict(list)
    for sha256, path in connection.execute(query):
        paths[sha256].append(Path(os.fsdecode(path)))
    return paths


def _told(connection: Connection) -> dict[str, list[Any]]:
    """Return all that was ever said of each held-out image, in order."""
    query = (
        select(Image.sha256, Image.split_at, Label.label, Label.recorded_at, Label.retracted_at)
        .join(Label, Label.image_id == Image.id)
        .where(Image.split == "holdout")
        .order_by(Label.id)
    )
    told: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        told[row.sha256].append(row)
    return told


def _stood(rows: list[Any], since: str | None) -> str | None:
    if since is None or not rows[0].split_at or rows[0].split_at > since:
        return None
    return _last(
        row
        for row in rows
        if row.recorded_at <= since and (row.retracted_at is None or row.retracted_at > since)
    )


def _last(rows: Any) -> str | None:
    return next((str(row.label) for row in reversed(list(rows))), None)
