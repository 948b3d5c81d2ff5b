"""`classifyd status`: how the daemon is and what it has done, at a glance."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import document_option, write_document
from daemon.cli.runs import run_row
from daemon.cli.times import ago, local_text, utc_text
from daemon.doctor import SILENT_S
from daemon.errors import EXIT_FAILED
from daemon.proposing import next_run
from daemon.store import queries, removals
from daemon.store.database import reading
from daemon.store.run_rows import last_run
from daemon.text import printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.config import Settings

Report = dict[str, Any]


@click.command()
@config_option
@click.option("--check", is_flag=True, help="Print only what is wrong, and exit 1 if anything is.")
@document_option
def status(config: Path | None, check: bool, form: str) -> None:
    """Say how the daemon is: model, files, sources, last failures."""
    engine, loaded = open_database(config)
    now = datetime.now(UTC)
    with reading(engine) as connection:
        report = gather(connection, loaded.settings, now)
    if form == "json":
        write_document(report)
    else:
        lines = report["problems"] if check else _lines(report, now)
        for line in lines:
            click.echo(line)
    if check and report["problems"]:
        sys.exit(EXIT_FAILED)


def gather(connection: "Connection", settings: "Settings", now: datetime) -> Report:
    """Return all that status tells, as plain values; `problems` are sentences."""
    counts = queries.counts(connection)
    report = {
        "daemon": _daemon(queries.heartbeat(connection), now),
        "model": queries.active_version(connection),
        "configured": {
            "backbone": settings.model.backbone.name,
            "head": settings.model.head.name,
        },
        "files": {**counts.states, "waiting": counts.waiting, "is_exact": counts.is_exact},
        "sources": queries.sources(connection),
        "labels": _labels(connection, now),
        "training": _training(connection, settings, now),
        "last_classified_at": queries.last_classified_at(connection),
        "last_failures": queries.last_failures(connection),
    }
    return {"problems": list(_problems(report)), **report}


def _training(connection: "Connection", settings: "Settings", now: datetime) -> Report:
    last = last_run(connection)
    return {
        "last": None if last is None else run_row(last),
        "next": next_run(settings.retrain, connection, now.timestamp()),
    }


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
    if held := report["labels"]["removals_to_confirm"]:
        yield (
            f"the files of {held:,} labels were removed, more than a tenth of all labels at once; "
            "put them back, or `classifyd labels confirm-removals`"
        )
    if daemon["is_running"] and daemon.get("detail", {}).get("model_error"):
        yield f"model: {printable(daemon['detail']['model_error'])}"


def _not_running(daemon: Report) -> str:
    if daemon.get("is_silent"):
        last = local_text(daemon["beat_at"])
        return f"the daemon (process {daemon['pid']}) has given no sign of life since {last}"
    if "beat_at" in daemon:
        ended = "stopped" if daemon["phase"] == "stopped" else "ended unexpectedly"
        last = local_text(daemon["beat_at"])
        return f"the daemon {ended} ({last}); start it with `classifyd run`"
    return "the daemon has never run; start it with `classifyd run`"


def _lines(report: Report, now: datetime) -> Iterator[str]:
    daemon = report["daemon"]
    if daemon["is_running"]:
        since = local_text(daemon["started_at"])
        yield f"The daemon is {daemon['phase']} (process {daemon['pid']}, since {since})"
    for problem in report["problems"]:
        yield f"! {problem}"
    for name, value in _facts(report, now):
        yield f"  {name:<10}{value}"
    if report["last_failures"]:
        yield "Last failures (all: `classifyd failed`)"
    for failure in report["last_failures"]:
        reason = printable(failure["reason"] or "no reason given")
        yield f"  {local_text(failure['state_at'])}  {printable(failure['path'])}: {reason}"


def _facts(report: Report, now: datetime) -> Iterator[tuple[str, str]]:
    yield from _model_facts(report)
    yield "files", _files_text(report["files"])
    if report["daemon"]["is_running"]:
        yield from _work_facts(report["daemon"].get("detail", {}))
    if last := report["last_classified_at"]:
        yield "latest", f"{local_text(last)} ({ago(last, now)})"
    if total := report["labels"]["total"]:
        yield "labels", f"{total:,}"
    yield from _training_facts(report["training"])
    for source in report["sources"]:
        how = source["watching"] or "not watched yet"
        listed = f", listed {local_text(source['listed_at'])}" if source["listed_at"] else ""
        yield "source", f"{printable(source['title'])} ({printable(how)}{listed})"


def _training_facts(training: Report) -> Iterator[tuple[str, str]]:
    last = training["last"]
    if last is not None and last["state"] == "running":
        yield (
            "training",
            f"run {last['run']} by {last['strategy']}: {last['outcome'] or 'starting'}",
        )
        return
    before = "" if last is None else f"run {last['run']} {last['outcome'] or last['state']}; "
    yield "training", f"{printable(before)}next {training['next']}"


def _model_facts(report: Report) -> Iterator[tuple[str, str]]:
    model, wanted = report["model"], report["configured"]
    if model is None:
        return
    built = f"backbone {model['backbone']}, head {model['head']}"
    since = local_text(model["deployed_at"])
    yield "model", f"{printable(model['name'])} ({built}), active since {since}"
    differs = [f"{part} {wanted[part]}" for part in wanted if wanted[part] != model[part]]
    if differs:
        configured = " and ".join(differs)
        yield "", f"the configuration names {configured}, which the next training builds"


def _files_text(files: Report) -> str:
    waiting = [f"{files[state]:,} {state}" for state in queries.WAITING if files.get(state)]
    details = f" ({', '.join(waiting)})" if waiting else ""
    about = "" if files["is_exact"] else "about "
    parts = [f"{files['waiting']:,} waiting{details}", f"{about}{files.get('done', 0):,} done"]
    parts += [
        f"{files[state]:,} {state}"
        for state in ("quarantined", "ignored", "gone")
        if files.get(state)
    ]
    return ", ".join(parts)


def _work_facts(detail: Report) -> Iterator[tuple[str, str]]:
    if "workers" in detail:
        yield "workers", f"{detail['workers']}, runtime {detail.get('runtime', 'unknown')}"
    if "images" in detail:
        rate = detail.get("images_per_minute")
        speed = "" if rate is None else f", {rate:.0f} in the last minute"
        yield "work", f"{detail['images']:,} files since the start{speed}"
