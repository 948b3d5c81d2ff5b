"""Whether a training run is due: what the configured retrainer says of what has changed."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.clock import utc_text
from daemon.config.sections import RetrainSettings
from daemon.errors import PluginError
from daemon.learning.schedule import History, Plan, Rules, outlook
from daemon.store.database import reading
from daemon.store.label_changes import (
    changed_since,
    changed_since_number,
    fingerprint,
    label_counts,
)
from daemon.store.run_rows import RunState, Standing, learned, standing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from daemon.app import Wiring
    from daemon.contracts import Retrainer

_BEGINNING = ""


def next_run(settings: RetrainSettings, connection: "Connection", now: float) -> str:
    """Say in words when the next training run is due; `now` is seconds since 1970."""
    if settings.strategy is None:
        return "only by `classifyd retrain --now` (retrain.strategy is null)"
    seen = history(settings, connection, now)
    return outlook(seen, settings.every, settings.min_new_labels, settings.min_per_class)


def proposal(wiring: "Wiring", engine: "Engine") -> Plan | None:
    """Return what the configured retrainer would do now; None: nothing, or there is none.

    Raises `PluginError` where it breaks or answers what is no plan.
    """
    choice = wiring.loaded.settings.retrain.strategy
    if choice is None:
        return None
    retrainer = wiring.catalogue.retrainers.build(choice, wiring.loaded.base)
    with reading(engine) as connection:
        seen = history(wiring.loaded.settings.retrain, connection, wiring.clock.now())
    return _asked(choice.name, retrainer, seen)


def _asked(name: str, retrainer: "Retrainer", seen: History) -> Plan | None:
    try:
        plan: object = retrainer.propose(seen)
    except Exception as error:  # whatever is wrong with a plugin
        raise PluginError(
            f"retrainer {name!r} broke when asked for a plan ({type(error).__name__}: {error});"
            " mend it, or name another with retrain.strategy"
        ) from error
    if plan is None or isinstance(plan, Plan):
        return plan
    raise PluginError(
        f"retrainer {name!r} answered {plan!r}, which is no plan; mend it, or name another with"
        " retrain.strategy"
    )


def history(settings: RetrainSettings, connection: "Connection", now: float) -> History:
    """Return what has happened to the labels since they were last learned from.

    A run that was interrupted is no run, and one that failed is forgotten once as many labels
    have changed since as start a run.
    """
    text = utc_text(now)
    last = standing(connection, RunState.RUNNING, RunState.FINISHED, RunState.FAILED)
    return History(
        now=datetime.fromtimestamp(now, UTC),
        last_run_at=_moment(last, text),
        changed=_changed(connection, text),
        labels=label_counts(connection),
        rules=Rules(
            settings.every,
            settings.min_new_labels,
            settings.min_per_class,
            settings.budget * 60,
            settings.seed,
        ),
        has_failed=last is not None
        and last.state is RunState.FAILED
        and changed_since(connection, last.as_of) < settings.min_new_labels,
    )


def _moment(run: Standing | None, now: str) -> datetime | None:
    """Return when a run began; None for one in the future, which a wrong clock dated."""
    if run is None or run.started_at > now:
        return None
    return datetime.fromisoformat(run.started_at)


def _changed(connection: "Connection", now: str) -> int:
    """Count images; none where no label was given or taken back since, whatever the clock did.
    Of a run in the future, where the clock was wrong, the labels' numbers tell what came since."""
    last = learned(connection)
    if last is None:
        return changed_since(connection, _BEGINNING)
    if last.labels == fingerprint(connection):
        return 0
    if last.as_of > now and len(last.labels) == 2:
        return changed_since_number(connection, *last.labels)
    return changed_since(connection, last.as_of if last.as_of <= now else _BEGINNING)
