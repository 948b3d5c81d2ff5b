"""SIGHUP: what of a changed configuration takes effect at once, and what needs a restart."""

import logging
import os

from daemon import logs
from daemon.app import Wiring
from daemon.config import Settings, load
from daemon.errors import ClassifydError
from daemon.pipeline import BatchRule
from daemon.service import Reloaded

_log = logging.getLogger("classifyd")
_WORKERS = frozenset({"runtime", "executor", "decode", "unknown", "agreement"})
_SOURCES = frozenset({"sources", "labels"})
_LABELS = frozenset({"labels", "model"})
_AT_ONCE = (
    frozenset({"log", "batch", "retrain", "gate", "retention", "disk"})
    | _SOURCES
    | _LABELS
    | _WORKERS
)


class Reloader:
    """Reads the configuration again and applies it; a wrong one changes nothing."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def __call__(self) -> Reloaded:
        """Return what has changed and must be put in place by the service."""
        before = self._wiring.loaded
        try:
            after = load(before.path, os.environ)
            self._wiring.catalogue.validate(after.settings, after.base, after.origins)
            changed = _changed(before.settings, after.settings)
            self._wiring.loaded = after
            sources = self._wiring.sources() if changed & _SOURCES else None
        except ClassifydError as error:
            self._wiring.loaded = before
            _log.error("the configuration is not reloaded: %s", error)
            return Reloaded()
        _tell(changed)
        settings = after.settings
        logs.set_up(settings.log.level, settings.log.format)
        rule = BatchRule(settings.batch.max_size, settings.batch.max_delay_ms / 1000)
        return Reloaded(
            sources,
            rule,
            workers=bool(changed & _WORKERS) or before.settings.batch.max_size != rule.max_size,
            labels=bool(changed & _LABELS),
            formats=sorted(settings.decode.formats),
        )


def _changed(before: Settings, after: Settings) -> set[str]:
    return {
        name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)
    }


def _tell(changed: set[str]) -> None:
    applied, later = sorted(changed & _AT_ONCE), sorted(changed - _AT_ONCE)
    _log.info("configuration reloaded; changed: %s", ", ".join(applied) or "nothing")
    if later:
        _log.warning("restart classifyd for changes of: %s", ", ".join(later))
