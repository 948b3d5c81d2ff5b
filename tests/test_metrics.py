"""Metrics and health: over real sockets, a real registry and a real database."""

import errno
import http.client
import json
import os
import re
import socket
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from drawing import draw
from filled import at
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from daemon.config import load
from daemon.domain import Batch, BatchResult, FileRef, FileStat, Outcome, OutcomeKind, Took, Verdict
from daemon.errors import ConfigError
from daemon.health import DEAF_S, Health
from daemon.metrics import families
from daemon.metrics.counting import Counting
from daemon.metrics.gathering import Gathering
from daemon.metrics.server import Answer, Server
from daemon.monitoring import health_page, metrics_page, monitored
from daemon.observing import ObservedSink
from daemon.store import vitals
from daemon.store.database import reading
from daemon.testing import ManualClock, daemon_process, running_daemon, stub_bundle, until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
NOON = at(0)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


def health(**changes) -> Health:
    told = {"phase": "running", "turned_s": 0.0, "model": "compact-1", "runtime": "openvino"}
    told |= {"workers": 2, "blocked": None, "hangs": None, "trouble": None, "training": None}
    return Health(**told | changes)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Return what is exposed, by name and labels as Prometheus writes them."""
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


# --- the server


@pytest.fixture
def server():
    """A server on any port, with one page that works and one that does not."""

    def broken(accept: str) -> Answer:
        raise RuntimeError("on purpose")

    pages = {"/metrics": lambda accept: Answer(b"told\n"), "/broken": broken}
    server = Server("127.0.0.1", 0, pages)
    server.start()
    yield server
    server.stop()


def ask(server: Server, method: str, path: str, **headers) -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/metrics?x=1", 200),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/broken", 500),
    ],
)
def test_answers_have_the_right_status(server, method, path, status):
    assert ask(server, method, path)[0] == status


def test_a_refused_method_names_those_that_are_allowed(server):
    assert ask(server, "PUT", "/metrics")[2]["Allow"] == "GET, HEAD"


def test_a_head_has_no_body_but_its_length(server):
    status, body, headers = ask(server, "HEAD", "/metrics")
    assert (status, body, headers["Content-Length"]) == (200, b"", "5")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9764", 200),
        ("localhost", 200),
        ("[::1]:9764", 200),
        ("evil.example:9764", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_a_page_of_a_stranger_cannot_read_it_through_a_browser(server, host, status):
    assert ask(server, "GET", "/metrics", Host=host)[0] == status


def test_silent_and_broken_clients_hold_up_nobody(server):
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for client in silent[::2]:
        client.sendall(b"GET /metr")
    silent[0].close()
    assert ask(server, "GET", "/metrics")[0] == 200
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 4.0
    for client in silent:
        client.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_it_listens_to_ipv6_too():
    try:
        server = Server("::1", 0, {"/metrics": lambda accept: Answer(b"told\n")})
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.start()
    with urllib.request.urlopen(f"http://[::1]:{server.port}/metrics", timeout=10) as response:
        assert response.read() == b"told\n"
    server.stop()


# --- where it listens


def monitoring(tmp_path: Path, text: str):
    (tmp_path / "config.yaml").write_text(text)
    return monitored(load(tmp_path / "config.yaml", {}))


def test_a_port_that_is_taken_ends_the_start_with_who_has_it_and_the_remedy(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(ConfigError) as refused,
            monitoring(tmp_path, f"metrics:\n  port: {port}\n"),
        ):
            pass
    said = str(refused.value)
    assert said.startswith(
        f"{tmp_path}/config.yaml:2: metrics.port: 127.0.0.1 port {port} is taken"
    )
    assert f"by process {os.getpid()} (" in said and "null to do without" in said


def test_an_address_of_another_machine_is_refused(tmp_path):
    with (
        pytest.raises(
            ConfigError, match=r"metrics.host: 192.0.2.1 port .* an address of this mach"
        ),
        monitoring(tmp_path, f"metrics: {{host: 192.0.2.1, port: {free_port()}}}"),
    ):
        pass


def test_before_the_database_is_open_it_is_alive_and_not_ready(tmp_path):
    port = free_port()
    with monitoring(tmp_path, f"metrics: {{port: {port}}}"):
        found = {}
        for path in ("/healthz/live", "/healthz/ready", "/metrics"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
                client.request("GET", path)
                response = client.getresponse()
                found[path] = (response.status, response.read().decode())
    assert found["/healthz/live"] == (200, "alive\n")
    opening = (503, "the database is being opened\n")
    assert found["/healthz/ready"] == found["/metrics"] == opening


def test_null_switches_it_off(tmp_path):
    with monitoring(tmp_path, "metrics: {port: null}") as monitor:
        monitor.watch(None, None)


# --- health


@pytest.mark.parametrize(
    ("changes", "unready", "stuck"),
    [
        ({}, None, None),
        ({"trouble": "the new model cannot be loaded"}, None, None),
        ({"phase": "starting", "model": None}, "the daemon is starting", None),
        ({"phase": "stopping"}, "the daemon is stopping", None),
        ({"blocked": "no worker can be started"}, "no worker can be started", None),
        ({"turned_s": DEAF_S + 1}, "not turned for 61 s", "not turned for 61 s"),
    ],
)
def test_ready_and_alive_are_two_things(changes, unready, stuck):
    now = health(**changes)
    for found, expected in ((now.unready, unready), (now.stuck, stuck)):
        assert (found is None) == (expected is None) and (expected or "") in (found or "")


def test_a_health_page_says_why():
    assert health_page(lambda: None, "ready")("") == Answer(b"ready\n")
    sick = health_page(lambda: "the daemon is starting", "ready")("")
    assert (sick.status, sick.body) == (503, b"the daemon is starting\n")


# --- what is counted


def batch_of(count: int, **more) -> Batch:
    stat = FileStat(1, 1, 1)
    refs = (FileRef(n, b"/in/x", stat, attempts=n % 2, waited_s=3.0) for n in range(count))
    return Batch(1, 1, tuple(refs), **more)


def test_a_recorded_batch_is_counted():
    registry = CollectorRegistry()
    counting = Counting(registry, ())
    verdict = Verdict("cat", 0.4, (), is_unknown=True)
    outcomes = (Outcome(0, OutcomeKind.CLASSIFIED, verdict=verdict), Outcome(1, OutcomeKind.KNOWN))
    result = BatchResult(batch_of(2), outcomes, took=Took(0.02, 0.2))
    counting.recorded(result, {OutcomeKind.CLASSIFIED: 1, OutcomeKind.KNOWN: 1}, 0.004)
    counting.recorded(BatchResult(batch_of(8), failure="killed"), {}, 0.001)
    counting.recorded(BatchResult(batch_of(4, moves_state=False)), {}, 0.001)
    found = samples(registry)
    assert found['classifyd_files_total{outcome="classified"}'] == 1
    assert found['classifyd_files_total{outcome="vanished"}'] == 0
    assert found["classifyd_unknown_images_total"] == 1
    assert found["classifyd_failed_batches_total"] == 1
    assert found["classifyd_batch_files_sum"] == 6
    assert found['classifyd_stage_seconds_sum{stage="decoding"}'] == 0.02
    assert found['classifyd_stage_seconds_bucket{le="0.25",stage="inference"}'] == 2
    assert found['classifyd_stage_seconds_count{stage="recording"}'] == 3
    # A file that failed before was made to wait, and one classified again did not wait.
    assert found['classifyd_stage_seconds_count{stage="waiting"}'] == 1


def test_a_sink_is_counted_whether_it_takes_or_refuses():
    class Sink:
        def publish(self, event):
            if event is None:
                raise OSError(errno.ENOSPC, "full")

        def close(self):
            self.closed = True

    registry, sink = CollectorRegistry(), Sink()
    observed = ObservedSink("jsonl", sink, Counting(registry, ("jsonl",)), ManualClock())
    observed.publish("an event")
    with pytest.raises(OSError):
        observed.publish(None)
    observed.close()
    found = samples(registry)
    assert sink.closed
    for outcome in ("delivered", "refused"):
        assert found[f'classifyd_sink_events_total{{outcome="{outcome}",sink="jsonl"}}'] == 1


# --- what is gathered


def gathering(engine, filled, clock, **changes) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(
        Gathering(
            engine,
            lambda: health(**changes),
            {"state_dir": filled.path.parent},
            ("jsonl", "webhook"),
            filled.path,
            "1.2.3",
            clock,
        )
    )
    return registry


def test_what_the_database_knows_is_told(engine, filled):
    filled.model("compact-1")
    filled.file("/in/a.jpg", "queued", state_at=at(10))
    filled.file("/in/b.jpg", "queued", state_at=at(20))
    filled.file("/in/c.jpg", "claimed", state_at=at(25))
    filled.file("/in/d.jpg", "retry", next_try_at=at(99))
    filled.file("/in/e.jpg", "quarantined")
    filled.seen("/in/f.jpg", seconds=5)
    filled.insert("source_state", title="inbox", watching="inotify")
    filled.insert("source_state", title="photos", alarm="is not there")
    for number in (1, 2):
        filled.insert("event", id=number, kind="classified", happened_at=at(number), payload={})
        filled.insert("delivery", event_id=number, sink="webhook")
    filled.insert("delivery", event_id=1, sink="jsonl", given_up_at=at(9), attempts=10)
    filled.insert("sink_state", name="webhook", failures=3)
    clock = ManualClock()
    clock.advance(30)
    found = samples(gathering(engine, filled, clock))
    queue = {state: found[f'classifyd_queue_files{{state="{state}"}}'] for state in
             ("settling", "queued", "claimed", "retry")}  # fmt: skip
    assert queue == {"settling": 0, "queued": 2, "claimed": 1, "retry": 1}
    assert found["classifyd_quarantined_files"] == 1
    assert found["classifyd_oldest_waiting_seconds"] == 20
    assert found['classifyd_source_up{source="inbox"}'] == 1
    assert found['classifyd_source_up{source="photos"}'] == 0
    assert found['classifyd_sink_pending_events{sink="jsonl"}'] == 0
    assert found['classifyd_sink_pending_events{sink="webhook"}'] == 2
    assert found['classifyd_sink_refusals{sink="webhook"}'] == 3
    assert found['classifyd_sink_given_up_events{sink="jsonl"}'] == 1
    assert found['classifyd_sink_given_up_events{sink="webhook"}'] == 0
    assert found['classifyd_sink_oldest_pending_seconds{sink="webhook"}'] == 29
    model = 'backbone="compact",head="softmax",runtime="openvino",version="compact-1"'
    assert found[f"classifyd_model_info{{{model}}}"] == 1
    assert found['classifyd_build_info{version="1.2.3"}'] == 1
    assert found['classifyd_disk_free_bytes{place="state_dir"}'] > 0
    assert found['classifyd_resident_memory_bytes{process="main"}'] > 10_000_000
    assert found["classifyd_ready"] == found["classifyd_database_up"] == 1


def test_both_formats_are_understood_by_their_parsers(engine, filled):
    page = metrics_page(gathering(engine, filled, ManualClock()))
    text = page("text/html, */*; version=\r\n X: 1")
    newer = page("application/openmetrics-text;version=abc")
    assert (text.kind, newer.kind) == (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    for parse, answer in ((parse_text, text), (parse_openmetrics, newer)):
        names = {family.name for family in parse(answer.body.decode())}
        assert {"classifyd_ready", "classifyd_queue_files"} <= names


def test_a_database_that_refuses_leaves_the_rest_to_be_told(engine, filled):
    registry = gathering(engine, filled, ManualClock(), trouble="bundle x: altered")
    filled.execute("DROP TABLE file")
    found = samples(registry)
    assert found["classifyd_database_up"] == 0 and found["classifyd_model_trouble"] == 1
    assert found["classifyd_workers"] == 2
    assert not [name for name in found if name.startswith("classifyd_queue")]


def test_training_runs_are_counted_by_outcome_and_read_once(engine, filled):
    def run(state, verdict=None, data=None):
        row = {"strategy": "probe", "state": state, "started_at": NOON, "plan": {}, "metrics": {}}
        return filled.insert("training_run", **row, data=data or {}, verdict=verdict)

    run("finished", {"allowed": True}, {"active": True})
    run("finished", {"allowed": False}, {"active": False})
    run("finished", {"allowed": True}, {"active": False})
    run("finished")
    going_on = run("running")
    run("failed")
    counts = vitals.RunCounts()

    def read():
        with reading(engine) as connection:
            return counts.read(connection)

    first = {"live": 1, "refused": 1, "allowed": 1, "trained": 1, "failed": 1}
    assert read() == first | {"running": 1}
    filled.execute("UPDATE training_run SET state = 'interrupted' WHERE id = ?", (going_on,))
    assert read() == read() == first | {"interrupted": 1}


def test_a_question_that_takes_long_is_asked_seldom(engine):
    clock, asked = ManualClock(), []

    def slow(connection):
        asked.append(connection)
        clock.advance(0.05)
        return len(asked)

    sparing = vitals.Sparing(slow, clock)
    with reading(engine) as connection:
        assert [sparing.read(connection), sparing.read(connection)] == [1, 1]
        clock.advance(51)
        assert sparing.read(connection) == 2


def test_what_a_scrape_asks_is_found_by_indexes(engine):
    with reading(engine) as connection:
        seen = []
        connection.connection.set_trace_callback(seen.append)
        vitals.oldest_waiting_s(connection, NOON)
        vitals.backlogs(connection)
        vitals.given_up(connection)
        connection.connection.set_trace_callback(None)
        for statement in seen:
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all())
            assert "SCAN file" not in plan.replace("SCAN file USING", "")
            assert not re.search(r"SCAN delivery(?! USING)", plan) and "SCAN event" not in plan


# --- what reads it


def exposed() -> set[str]:
    """Return every name that can be asked for."""
    names = set()
    for family in (*families.COUNTED, *families.GATHERED):
        ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        names |= {f"{family.shown}{end}" for end in ends}
    return names


def used(text: str) -> set[str]:
    return set(re.findall(r"\bclassifyd_\w+", text))


def test_every_metric_of_dashboard_and_alerts_exists():
    board = (DEPLOY / "grafana" / "classifyd.json").read_text()
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    queries = [
        target["expr"] for panel in json.loads(board)["panels"] for target in panel["targets"]
    ]
    rules = [rule for group in yaml.safe_load(alerts)["groups"] for rule in group["rules"]]
    for text in (*queries, *(rule["expr"] for rule in rules)):
        assert used(text) or "up{" in text or "process_" in text, text
        assert used(text) <= exposed(), text
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in rules)
    # What nobody looks at need not be told.
    informative = {"classifyd_build_info", "classifyd_database_bytes", "classifyd_disk_size_bytes"}
    shown = {name for name in exposed() if any(name in text for text in (board, alerts))}
    assert {family.shown for family in families.GATHERED} - shown <= informative


# --- the daemon


@pytest.mark.slow
def test_a_daemon_tells_of_itself_from_start_to_end(tmp_path):
    port = free_port()
    sinks = [{"name": "jsonl", "path": "events.jsonl"}]
    with running_daemon(tmp_path, {"metrics": {"port": port}, "sinks": sinks}) as daemon:

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
                return response.read().decode()

        for number in range(3):
            draw(daemon.inbox / f"{number}.png", number)
        (daemon.inbox / "notes.txt").write_text("no image")
        counted = 'classifyd_files_total{outcome="classified"} 3.0'
        until(lambda: counted in get("/metrics"), what="three images counted")
        until(lambda: 'outcome="delivered",sink="jsonl"} 3.0' in get("/metrics"))
        told = {family.name: family for family in parse_text(get("/metrics"))}
        for family in (*families.COUNTED, *families.GATHERED):
            assert told[family.name].type == family.kind
            assert told[family.name].samples, family.name
            for sample in told[family.name].samples:
                assert set(sample.labels) - {"le"} == set(family.labels)
        assert get("/healthz") == get("/healthz/ready") == "ready\n"
        assert get("/healthz/live") == "alive\n"

        second = daemon.run("run")  # the database comes first: it is no matter of ports
        assert second.returncode == 75
        doctor = json.loads(daemon.run("doctor", "--format", "json").stdout)
        (says,) = [each["says"] for each in doctor if each["check"] == "metrics"]
        assert says == f"port {port} is the daemon's (process {daemon.process.pid})"

        with closing(socket.create_connection(("127.0.0.1", port))) as slow:
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 20.0


@pytest.mark.slow
def test_two_daemons_of_one_machine_need_two_ports(tmp_path):
    port = free_port()
    with (
        running_daemon(tmp_path / "one", {"metrics": {"port": port}}) as first,
        daemon_process(tmp_path / "two", {"metrics": {"port": port}}) as second,
    ):
        second.deploy(stub_bundle(tmp_path / "bundles"))
        refused = second.run("run")
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        said = refused.stderr.splitlines()[-1]
        assert (
            f"metrics.port: 127.0.0.1 port {port} is taken by process {first.process.pid}" in said
        )
        second.configure({"metrics": {"port": free_port()}})
        second.start()
        assert second.stop() == 0
