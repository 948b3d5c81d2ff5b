"""`classifyd retrain`: labels in, and a better model out, if it is one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, load_config
from daemon.errors import BusyError, UsageError
from daemon.text import printable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from daemon.app import Wiring
    from daemon.retraining import Retrained

STAGES = {
    "find": "finding images",
    "read": "finding images",
    "features": "computing features",
    "fit": "training",
    "score": "judging",
    "challenger": "judging the challenger",
    "champion": "judging the champion",
}
_SHOWN = 20


@click.command()
@click.option("--now", "at_once", is_flag=True, help="Whether or not it is due.")
@click.option(
    "--dry-run", is_flag=True, help="Only tell what would be learned from, audit included."
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="RUN",
    help="Repeat a training run from its record; the result is judged, and does not go live.",
)
@click.option("--parent", type=int, hidden=True)
@config_option
def retrain(
    at_once: bool, dry_run: bool, repeat: int | None, parent: int | None, config: Path | None
) -> None:
    """Train a challenger on the labels there are, if that is due by `retrain` in the configuration.

    It goes live when it is not worse than the active model version on images that neither has
    learned from; a running daemon follows within seconds. The daemon starts such runs by itself.
    Ends with 75 while another training run goes on.

    \b
    Examples:
      classifyd retrain --dry-run       what is labelled, and what is wrong with it
      classifyd retrain --now           train at once
    """
    from daemon import app
    from daemon.priority import limit_memory, yield_to_others
    from daemon.training_process import end_on_request

    if at_once + dry_run + (repeat is not None) > 1:
        raise UsageError("give one of --now, --dry-run and --repeat")
    loaded = load_config(config)
    app.prepare_environment(loaded.settings)
    yield_to_others()
    limit_memory(loaded.settings.retrain.max_memory_mb)
    end_on_request(parent)
    wiring = app.Wiring(loaded)
    app.make_folders(loaded.settings)
    engine = app.upgraded_engine(loaded)
    if dry_run:
        _dry_run(wiring, engine)
    elif repeat is not None:
        _repeat(wiring, engine, repeat)
    else:
        _train(wiring, engine, at_once, by_daemon=parent is not None)


def _train(wiring: "Wiring", engine: "Engine", at_once: bool, by_daemon: bool) -> None:
    from daemon.proposing import proposal
    from daemon.retraining import default_plan, retrain

    plan = default_plan(wiring, "asked for") if at_once else proposal(wiring, engine)
    if plan is None and by_daemon:  # which would start the next process at once
        raise BusyError(
            f"not due: next training {_next_run(wiring, engine)}; if the configuration was"
            " changed, let the daemon read it too (SIGHUP)"
        )
    if plan is None:
        click.echo(f"not due: next training {_next_run(wiring, engine)}")
        click.echo("`classifyd retrain --now` trains all the same")
        return
    click.echo(f"training by {plan.strategy}: {plan.reason}", err=True)
    with _progress() as progress:
        result = retrain(wiring, engine, plan, progress)
    _tell(result)


def _repeat(wiring: "Wiring", engine: "Engine", run_id: int) -> None:
    from daemon.repeating import repeat

    with _progress() as progress:
        _tell(repeat(wiring, engine, run_id, progress))


def _progress() -> Any:
    from daemon.progress import stages

    return stages(STAGES)


def _tell(result: "Retrained") -> None:
    verdict = result.verdict
    said = "is active" if result.active else "may go live" if verdict.allowed else "was refused"
    click.echo(f"{result.version.name} {said} (training run {result.run_id})")
    for reason in verdict.reasons:
        click.echo(f"  {printable(reason)}")
    if not result.active:
        click.echo(
            f"`classifyd models activate {result.version.name}` makes it active all the same"
        )


def _next_run(wiring: "Wiring", engine: "Engine") -> str:
    from daemon.proposing import next_run
    from daemon.store.database import reading

    with reading(engine) as connection:
        return next_run(wiring.loaded.settings.retrain, connection, wiring.clock.now())


def _dry_run(wiring: "Wiring", engine: "Engine") -> None:
    from daemon.retraining import look

    with _progress() as progress:
        seen = look(wiring, engine, progress)
    for line in _seen_lines(seen):
        click.echo(line)
    click.echo(f"next training {_next_run(wiring, engine)}")


def _seen_lines(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['images']} images would be used, {data['held_out']} of them only to judge by"
    for name, sides in data["classes"].items():
        yield f"  {printable(name):<20} {sides['train']} to learn from, {sides['holdout']} held out"
    for name, count in data["waiting"].items():
        yield f"  {printable(name):<20} waits: {count} labels are too few"
    yield from finding_lines(data["findings"])


def finding_lines(findings: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the audit's findings as a person reads them, a few of each kind."""
    kinds = dict.fromkeys(finding["kind"] for finding in findings)
    for kind in kinds:
        own = [finding for finding in findings if finding["kind"] == kind]
        yield f"{kind}: {len(own)}"
        for finding in own[:_SHOWN]:
            where = f"{printable(finding['path'])}: " if finding["path"] else ""
            yield f"  {where}{printable(finding['reason'])}"
        if len(own) > _SHOWN:
            yield f"  and {len(own) - _SHOWN} more"
