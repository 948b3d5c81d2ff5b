"""`classifyd runs`: past training runs, and the one that goes on."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_document, write_rows
from daemon.cli.retrain import STAGES, finding_lines
from daemon.cli.scorecard import scorecard_lines
from daemon.cli.times import local_text, utc_text
from daemon.errors import UsageError
from daemon.lock import nobody_trains_at
from daemon.store.database import reading
from daemon.store.run_rows import Run, all_runs, as_it_is, find_run
from daemon.text import printable

_COLUMNS = (
    Column("run", Kind.NUMBER),
    Column("started", Kind.TIME),
    Column("state"),
    Column("strategy"),
    Column("images", Kind.NUMBER),
    Column("accuracy", Kind.CONFIDENCE),
    Column("outcome"),
    Column("finished", Kind.TIME, in_table=False),
    Column("reason", in_table=False),
)


@click.command()
@click.argument("number", type=click.IntRange(min=1), required=False, metavar="[RUN]")
@config_option
@format_option
def runs(number: int | None, config: Path | None, form: str) -> None:
    """List training runs, newest first; with RUN, all that is known of one.

    \b
    Examples:
      classifyd runs
      classifyd runs 12                 its images, findings, verdict and log
    """
    engine, loaded = open_database(config)
    alone_since = nobody_trains_at(loaded.settings.state_dir, utc_text(datetime.now(UTC)))
    with reading(engine) as connection:
        rows = all_runs(connection) if number is None else [find_run(connection, number)]
    found = [as_it_is(run, alone_since) for run in rows if run is not None]
    if number is None:
        if not write_rows(map(run_row, found), _COLUMNS, form):
            click.echo("classifyd: no training run yet; `classifyd retrain --now`", err=True)
        return
    if (run := next(iter(found), None)) is None:
        raise UsageError(f"there is no training run {number}; `classifyd runs` lists them")
    if form == "json":
        write_document(_document(run))
        return
    if form != "table":
        raise UsageError(f"one run is no list that {form} could hold; use --format json")
    for line in _lines(run):
        click.echo(line)


def run_row(run: Run) -> dict[str, Any]:
    """Return what a listing tells of a run."""
    return {
        "run": run.run_id,
        "started": run.started_at,
        "finished": run.finished_at,
        "state": str(run.state),
        "strategy": run.strategy,
        "images": run.data.get("images"),
        "accuracy": run.metrics.get("holdout_accuracy"),
        "outcome": outcome(run),
        "reason": run.plan.get("reason"),
    }


def outcome(run: Run) -> str:
    """Say in a few words what came of a run, or how far it is."""
    if run.progress:
        stage = STAGES.get(run.progress["stage"], run.progress["stage"])
        return f"{stage}, {run.progress['done']} of {run.progress['total']}"
    if run.verdict is not None:
        allowed = "went live" if run.data.get("active", True) else "may go live"
        return allowed if run.verdict["allowed"] else "refused by the gate"
    lines = (run.log or "").splitlines()
    return lines[0] if lines else ""


def _document(run: Run) -> dict[str, Any]:
    told = {"plan": run.plan, "data": run.data, "metrics": run.metrics, "verdict": run.verdict}
    return {**run_row(run), **told, "progress": run.progress, "log": run.log}


def _lines(run: Run) -> Iterator[str]:
    yield f"training run {run.run_id}: {run.state}, by {run.strategy}"
    yield f"  {printable(str(run.plan.get('reason', '')))}"
    yield f"  began {local_text(run.started_at)}{_took(run)}"
    if run.state == "running":
        yield f"  {outcome(run) or 'starting'}"
    for reason in run.data.get("reasons", ()):
        yield f"  {printable(reason)}"
    if run.verdict is not None:
        yield f"gate: {'allowed' if run.verdict['allowed'] else 'refused'}"
        yield from (f"  {printable(reason)}" for reason in run.verdict["reasons"])
    if run.metrics:
        yield from scorecard_lines(run.metrics)
    yield from finding_lines(run.data.get("findings", []))
    if run.log:
        yield "log"
        yield from (f"  {printable(line)}" for line in run.log.splitlines())


def _took(run: Run) -> str:
    end = run.finished_at or utc_text(datetime.fromtimestamp(time.time()).astimezone())
    seconds = datetime.fromisoformat(end) - datetime.fromisoformat(run.started_at)
    return f", {'took' if run.finished_at else 'for'} {seconds.total_seconds():.0f} s"
