"""Model versions and deployments: which bundles are known, and which one is active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, insert, select

from daemon.errors import UsageError
from daemon.store.database import reading, writing
from daemon.store.outbox import publish
from daemon.store.schema import Deployment, ModelVersion

_NEWEST = select(Deployment.id).order_by(Deployment.id.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What registering a bundle needs; `name` gets a number when it is taken, `bundle` is the
    name of its directory among the models of the state folder."""

    name: str
    digest: str
    bundle: str
    backbone: str
    head: str
    classes: tuple[str, ...]
    metrics: Mapping[str, Any]
    training_run_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(NewVersion):
    """A registered model version."""

    version_id: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """One activation: which version, when, why, on whose word."""

    deployment_id: int
    version_id: int
    name: str
    deployed_at: str
    reason: str
    who: str | None


class Models:
    """The registry of model versions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(self, new: NewVersion, now: str) -> Version:
        """Register a bundle; the same bundle again is the version it already is."""
        with writing(self._engine) as connection:
            found = _one(connection, _versions().where(ModelVersion.digest == new.digest))
            if found is None:
                row = {
                    "name": _free_name(connection, new.name),
                    "digest": new.digest,
                    "bundle": new.bundle,
                    "backbone": new.backbone,
                    "head": new.head,
                    "classes": list(new.classes),
                    "metrics": dict(new.metrics),
                    "training_run_id": new.training_run_id,
                    "created_at": now,
                }
                connection.execute(insert(ModelVersion).values(row))
                found = _one(connection, _versions().where(ModelVersion.digest == new.digest))
        assert found is not None
        return found

    def versions(self) -> list[Version]:
        """Return all versions, newest first."""
        with reading(self._engine) as connection:
            return list(map(_version, connection.execute(_versions())))

    def bundles(self) -> frozenset[str]:
        """Return the names of the bundles that model versions have."""
        with reading(self._engine) as connection:
            return frozenset(connection.execute(select(ModelVersion.bundle)).scalars())

    def find(self, name: str) -> Version:
        """Return the version of this name or number; raises `UsageError` with what is known."""
        versions = self.versions()
        for version in versions:
            if name in (version.name, str(version.version_id)):
                return version
        known = ", ".join(version.name for version in versions) or "none"
        raise UsageError(f"there is no model version {name!r}; known: {known}")

    def active(self) -> Version | None:
        """Return the version of the newest deployment, None before the first."""
        newest = select(Deployment.model_version_id).order_by(Deployment.id.desc()).limit(1)
        query = _versions().where(ModelVersion.id == newest.scalar_subquery())
        with reading(self._engine) as connection:
            return _one(connection, query)

    def newest_deployment(self) -> int | None:
        """Return the number of the newest deployment; it changes with every activation."""
        with reading(self._engine) as connection:
            return connection.execute(_NEWEST).scalar()

    def deployments(self) -> list[Deployed]:
        """Return the whole history, newest first."""
        query = (
            select(Deployment, ModelVersion.name)
            .join(ModelVersion, ModelVersion.id == Deployment.model_version_id)
            .order_by(Deployment.id.desc())
        )
        with reading(self._engine) as connection:
            return [
                Deployed(r.id, r.model_version_id, r.name, r.deployed_at, r.reason, r.who)
                for r in connection.execute(query)
            ]

    def deploy(
        self,
        version: Version,
        reason: str,
        who: str | None,
        now: str,
        sinks: tuple[str, ...] = (),
    ) -> None:
        """Make a version the active one; a running daemon follows within seconds."""
        with writing(self._engine) as connection:
            deploy(connection, version, reason, who, now, sinks)

    def before_active(self) -> Version:
        """Return what was active before the active version; raises `UsageError` if nothing."""
        history = self.deployments()
        others = [d for d in history if d.version_id != history[0].version_id]
        if not others:
            raise UsageError("there is no earlier model version to roll back to")
        return self.find(others[0].name)


def deploy(
    connection: Connection,
    version: Version,
    reason: str,
    who: str | None,
    now: str,
    sinks: Sequence[str] = (),
) -> None:
    """Make a version the active one, within a transaction."""
    row = {"model_version_id": version.version_id, "reason": reason, "who": who}
    connection.execute(insert(Deployment).values(**row, deployed_at=now))
    told = {"model_version": version.name, "reason": reason, "who": who}
    publish(connection, [("model_activated", told)], sinks, now)


def _versions() -> Select[Any]:
    return select(*ModelVersion.__table__.columns).order_by(ModelVersion.id.desc())


def _one(connection: Connection, query: Select[Any]) -> Version | None:
    row = connection.execute(query).first()
    return None if row is None else _version(row)


def _version(row: Any) -> Version:
    return Version(
        name=row.name,
        digest=row.digest,
        bundle=row.bundle,
        backbone=row.backbone,
        head=row.head,
        classes=tuple(row.classes),
        metrics=row.metrics,
        training_run_id=row.training_run_id,
        version_id=row.id,
        created_at=row.created_at,
    )


def _free_name(connection: Connection, name: str) -> str:
    query = select(ModelVersion.name).where(ModelVersion.name.startswith(name, autoescape=True))
    taken = set(connection.execute(query).scalars())
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in numbered if other not in taken)
