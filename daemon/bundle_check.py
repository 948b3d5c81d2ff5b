"""Whether the bundles on disk are those that the database knows, and how it is mended."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.app import bundle_of, register_installed
from daemon.artifacts import digest, read_manifest
from daemon.clock import utc_text
from daemon.compiling import COMPILED
from daemon.config import Settings
from daemon.durable import LEFTOVERS
from daemon.errors import BundleError
from daemon.feature_files import PART
from daemon.store.models import Models, Version
from daemon.training_leftovers import SCRATCH

_AWAY = "put its folder back from a backup"


@dataclass(frozen=True, slots=True)
class BundleProblem:
    """What is wrong, what repairing does (empty: it cannot be repaired here), and its doing."""

    says: str
    repair: str = ""
    mend: Callable[[], object] = lambda: None

    def __str__(self) -> str:
        """Write it as one line."""
        return self.says


def bundle_problems(
    models: Models, settings: Settings, now: float, is_idle: bool
) -> Iterator[BundleProblem]:
    """Yield what is wrong with the bundles; hashes every file of every one.

    `is_idle`: nothing runs that may be writing one now, so that what is half is a leftover. `now`
    is seconds since 1970.
    """
    active = models.active()
    for version in models.versions():
        problem = _damage(version, settings)
        if problem is None:
            continue
        if version == active:
            yield _instead(models, problem, settings, now)
        elif bundle_of(version, settings).exists():  # `retention.bundles` removes old ones
            yield BundleProblem(f"model version {version.name}: {problem}")
    if is_idle:
        yield from _unregistered(models, settings, now)
        yield from _leftovers(settings.state_dir)


def _damage(version: Version, settings: Settings) -> str | None:
    bundle = bundle_of(version, settings)
    try:
        read_manifest(bundle)
        if digest(bundle) != version.digest:
            return f"bundle {bundle}: is another than the one that was registered; {_AWAY}"
    except BundleError as error:
        return str(error)
    return None


def _instead(models: Models, problem: str, settings: Settings, now: float) -> BundleProblem:
    """Offer the version that was active last before, and whose bundle is whole."""
    says = f"the active model version: {problem}"
    for deployed in models.deployments():
        version = models.find(str(deployed.version_id))
        if _damage(version, settings) is None:
            reason = "its successor's bundle is damaged (db check --repair)"
            return BundleProblem(
                says,
                f"activates {version.name}, which was active before",
                partial(models.deploy, version, reason, None, utc_text(now)),
            )
    return BundleProblem(says)


def _unregistered(models: Models, settings: Settings, now: float) -> Iterator[BundleProblem]:
    known = {version.bundle for version in models.versions()}
    for bundle in sorted((settings.state_dir / "models").glob("[!.]*")):
        if bundle.name in known:
            continue
        try:
            read_manifest(bundle)
        except BundleError as error:
            yield BundleProblem(f"no model version has this folder, and it is damaged: {error}")
        else:
            yield BundleProblem(
                f"bundle {bundle}: no model version has it",
                "registers it as a candidate",
                partial(register_installed, models, bundle, utc_text(now)),
            )


def _leftovers(state_dir: Path) -> Iterator[BundleProblem]:
    places = {
        "half-written bundles": state_dir.glob(f"models/{LEFTOVERS}"),
        "half-compiled models": state_dir.glob(f"{COMPILED}/*/{LEFTOVERS}"),
        "half-made backups": state_dir.glob("backups/*.part"),
        "scratch folders of training": state_dir.glob(f"{SCRATCH}*"),
        "half-written features": state_dir.glob(f"features/*/*{PART}"),
    }
    for what, found in places.items():
        if paths := list(found):
            says = f"{what}: {len(paths)}"
            yield BundleProblem(says, "removes them", partial(_remove, paths))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
