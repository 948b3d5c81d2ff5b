"""What `classifyd status` says of a report, line by line."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from daemon.cli.times import ago, local_text
from daemon.store import queries
from daemon.text import printable

Report = dict[str, Any]


def lines(report: Report, now: datetime) -> Iterator[str]:
    """Yield what a person reads, the most important first."""
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
        if error := _other_error(report):
            yield "error", printable(error)
    if speed := report["latency"]:
        yield "latency", _latency_text(speed)
    if last := report["last_classified_at"]:
        yield "latest", f"{local_text(last)} ({ago(last, now)})"
    if total := report["labels"]["total"]:
        yield "labels", f"{total:,}"
    yield from _training_facts(report["training"])
    for source in report["sources"]:
        how = source["watching"] or "not watched yet"
        listed = f", listed {local_text(source['listed_at'])}" if source["listed_at"] else ""
        yield "source", f"{printable(source['title'])} ({printable(how)}{listed})"
    for sink in report["sinks"]:
        yield "sink", _sink_text(sink, now)


def _sink_text(sink: Report, now: datetime) -> str:
    parts = [f"{sink['waiting']:,} waiting"]
    if sink["given_up"]:
        parts.append(f"{sink['given_up']:,} given up (`classifyd sinks rejected`)")
    if sink["delivered_at"]:
        parts.append(f"last delivered {ago(sink['delivered_at'], now)}")
    if sink["error"]:
        parts.append(f"last error: {printable(sink['error'])}")
    return f"{printable(sink['name'])}: {', '.join(parts)}"


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


def _other_error(report: Report) -> str | None:
    """Return the daemon's last error where it is not one of the last failures: that of a whole
    batch, or of a file that is tried again."""
    error: str | None = report["daemon"].get("detail", {}).get("last_error")
    told = {f"{printable(each['path'])}: {each['reason']}" for each in report["last_failures"]}
    return None if error in told else error


def _latency_text(latency: Report) -> str:
    half, most = (f"{latency[name]:,.1f} s" for name in ("p50_s", "p95_s"))
    return f"half within {half}, 95 % within {most} of being found ({latency['files']:,} files)"


def _work_facts(detail: Report) -> Iterator[tuple[str, str]]:
    if "workers" in detail:
        yield "workers", f"{detail['workers']}, runtime {detail.get('runtime', 'unknown')}"
    if "images" in detail:
        rate = detail.get("images_per_minute")
        speed = "" if rate is None else f", {rate:.0f} in the last minute"
        yield "work", f"{detail['images']:,} files since the start{speed}"
