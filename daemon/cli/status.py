"""`classifyd status`: how the daemon is and what it has done, at a glance."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import document_option, write_document
from daemon.cli.runs import run_row
from daemon.cli.status_lines import Report, lines
from daemon.cli.times import local_text, utc_text
from daemon.doctor import SILENT_S
from daemon.errors import EXIT_FAILED, UsageError
from daemon.lock import nobody_trains_at
from daemon.proposing import next_run
from daemon.store import queries, removals, sinks, vitals
from daemon.store.database import reading
from daemon.store.run_rows import as_it_is, last_run
from daemon.text import printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.config import Settings

_WATCH_S = 1.0
_LATELY = timedelta(minutes=1)
_TROUBLED = 3  # a sink that failed once or twice may only have been restarted
_LONG_S = 900.0
"""No batch takes so long, however slow its images are to decode."""


@click.command()
@config_option
@click.option(
    "--check",
    is_flag=True,
    help="Print only what is wrong, on one line, and exit 1 if anything is.",
)
@click.option("--watch", is_flag=True, help="Say it again each second, until Ctrl-C.")
@document_option
def status(config: Path | None, check: bool, watch: bool, form: str) -> None:
    """Say how the daemon is: model, queue, rate, latency, last failures, next training.

    \b
    Examples:
      classifyd status                  at a glance
      classifyd status --watch          and go on looking
      classifyd status --check          for monitoring: silent and exit 0 when all is well
    """
    if watch and (check or form == "json"):
        raise UsageError("--watch is for people: leave out --check and --format json")
    engine, loaded = open_database(config)

    def look() -> tuple[Report, datetime]:
        now = datetime.now(UTC)
        with reading(engine) as connection:
            return gather(connection, loaded.settings, now), now

    if watch:
        _watch(lambda: list(lines(*look())))
    elif form == "json":
        write_document(look()[0])
    else:
        _tell(*look(), check)


def _tell(report: Report, now: datetime, check: bool) -> None:
    if not check:
        for line in lines(report, now):
            click.echo(line)
    elif problems := [*report["problems"], *_unready(report["daemon"])]:
        click.echo("; ".join(problems))
        sys.exit(EXIT_FAILED)


def _watch(look: Callable[[], Sequence[str]]) -> None:
    """Show on a terminal what is so now in place of what was; elsewhere print both."""
    try:
        if sys.stdout.isatty():
            _watch_live(look)
        while True:
            click.echo("\n".join(["", *look()]))
            time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        return


def _watch_live(look: Callable[[], Sequence[str]]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(Text("\n".join(look())), refresh=True)
            time.sleep(_WATCH_S)


def gather(connection: "Connection", settings: "Settings", now: datetime) -> Report:
    """Return all that status tells, as plain values; `problems` are sentences."""
    alone_since = nobody_trains_at(settings.state_dir, utc_text(now))  # before a row is read
    counts = queries.counts(connection)
    report = {
        "daemon": _daemon(queries.heartbeat(connection), now),
        "model": queries.active_version(connection),
        "configured": {
            "backbone": settings.model.backbone.name,
            "head": settings.model.head.name,
        },
        "files": {**counts.states, "waiting": counts.waiting, "is_exact": counts.is_exact},
        "longest_in_work_s": vitals.age_s(connection, "claimed", utc_text(now)),
        "latency": _latency(connection, now),
        "sources": queries.sources(connection),
        "sinks": sinks.sinks(connection),
        "labels": _labels(connection, now),
        "training": _training(connection, settings, now, alone_since),
        "last_classified_at": queries.last_classified_at(connection),
        "last_failures": queries.last_failures(connection),
    }
    return {"problems": list(_problems(report)), **report}


def _training(
    connection: "Connection", settings: "Settings", now: datetime, alone_since: str | None
) -> Report:
    last = last_run(connection)
    return {
        "last": None if last is None else run_row(as_it_is(last, alone_since)),
        "next": next_run(settings.retrain, connection, now.timestamp()),
    }


def _latency(connection: "Connection", now: datetime) -> Report | None:
    """Tell how long the files of the last minute took from being found to being recorded."""
    took = sorted(queries.latencies(connection, utc_text(now - _LATELY)))
    if not took:
        return None
    p50, p95 = (took[int(share * (len(took) - 1) + 0.5)] for share in (0.5, 0.95))
    return {"files": len(took), "p50_s": round(p50, 3), "p95_s": round(p95, 3)}


def _labels(connection: "Connection", now: datetime) -> Report:
    balance = removals.balance(connection, None, utc_text(now))
    held = balance.lost if balance.is_too_much else 0
    return {"total": queries.labels_count(connection), "removals_to_confirm": held}


def _daemon(beat: Report | None, now: datetime) -> Report:
    if beat is None:
        return {"is_running": False}
    age = (now - datetime.fromisoformat(beat["beat_at"])).total_seconds()
    is_alive = beat["phase"] != "stopped" and process_is_alive(beat["pid"])
    return {**beat, "is_running": is_alive and age <= SILENT_S, "is_silent": is_alive}


def process_is_alive(pid: int) -> bool:
    """Tell whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _problems(report: Report) -> Iterator[str]:
    daemon = report["daemon"]
    if not daemon["is_running"]:
        yield _not_running(daemon)
    if report["model"] is None:
        yield "no model version is active; make one with `classifyd models train FOLDER`"
    for source in report["sources"]:
        if source["alarm"]:
            yield f"source {printable(source['title'])}: {printable(source['alarm'])}"
    for sink in report["sinks"]:
        if sink["failures"] >= _TROUBLED:
            later = f"; next try {local_text(sink['next_try_at'])}" if sink["next_try_at"] else ""
            yield f"sink {printable(sink['name'])}: {printable(sink['error'])}{later}"
    if (long_s := report["longest_in_work_s"]) > _LONG_S:
        yield f"a file has been in work for {long_s / 60:.0f} minutes; look at the daemon's log"
    if held := report["labels"]["removals_to_confirm"]:
        yield (
            f"the files of {held:,} labels were removed, more than a tenth of all labels at once; "
            "put them back, or `classifyd labels confirm-removals`"
        )
    detail = daemon.get("detail", {}) if daemon["is_running"] else {}
    for what in ("model", "disk", "database"):
        if trouble := detail.get(f"{what}_error"):
            yield f"{what}: {printable(trouble)}"


def _unready(daemon: Report) -> Iterator[str]:
    if daemon["is_running"] and daemon["phase"] != "running":
        yield f"the daemon is {daemon['phase']}: no image is classified yet"


def _not_running(daemon: Report) -> str:
    if daemon.get("is_silent"):
        last = local_text(daemon["beat_at"])
        return f"the daemon (process {daemon['pid']}) has given no sign of life since {last}"
    if "beat_at" in daemon:
        ended = "stopped" if daemon["phase"] == "stopped" else "ended unexpectedly"
        last = local_text(daemon["beat_at"])
        return f"the daemon {ended} ({last}); start it with `classifyd run`"
    return "the daemon has never run; start it with `classifyd run`"
