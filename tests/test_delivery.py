"""How events get to sinks: in order, later if need be, and none at the cost of another."""

import json
import threading

import pytest

from daemon.delivery import TRIES, Delivery, wait_s
from daemon.errors import RejectedEventError, SinkError
from daemon.store.database import reading, writing
from daemon.store.outbox import Outbox, publish
from daemon.store.sinks import rejected, sinks
from daemon.testing import ManualClock, StubSink, running_receiver, until
from daemon.watchers import DeliveryThreads
from plugins.sinks.jsonl import JsonlOptions, JsonlSink
from plugins.sinks.webhook import Webhook, WebhookOptions


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def outbox(engine):
    return Outbox(engine)


def tell(engine, count, names=("stub",)):
    with writing(engine) as connection:
        events = [("failed", {"path": f"/in/{n}.jpg"}) for n in range(count)]
        publish(connection, events, names, "2026-05-01T12:00:00.000Z")


def numbers(sink):
    return [event.event_id for event in sink.events]


def state(engine):
    with reading(engine) as connection:
        return sinks(connection)[0]


def run_for(delivery, clock, seconds, step_s=1.0):
    for _ in range(int(seconds / step_s)):
        delivery.step()
        clock.advance(step_s)


def test_waits_double_up_to_ten_minutes_less_a_jitter_and_never_less_than_asked():
    assert [wait_s(n, None, 0.0) for n in (1, 2, 3, 9, 10, 10_000)] == [2, 4, 8, 512, 600, 600]
    assert wait_s(3, None, 1.0) == 4
    assert wait_s(3, 120, 1.0) == 120
    assert wait_s(10, 120, 0.0) == 600
    assert wait_s(1, 1e12, 0.0) == 86_400


@pytest.mark.slow
def test_a_sink_down_for_an_hour_gets_everything_in_order_and_once(engine, outbox, clock):
    end = clock.elapsed() + 3600

    def answer(event):
        if clock.elapsed() < end:
            raise ConnectionRefusedError("nobody listens")

    sink = StubSink(answer)
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 300)
    run_for(delivery, clock, 3500, step_s=20.0)
    told = state(engine)
    assert sink.events == []
    assert (told["waiting"], told["given_up"], told["error"]) == (300, 0, "nobody listens")
    assert 10 < told["failures"] < 30
    assert told["next_try_at"] is not None
    run_for(delivery, clock, 900, step_s=20.0)
    assert numbers(sink) == list(range(1, 301))
    told = state(engine)
    assert (told["waiting"], told["failures"], told["error"], told["next_try_at"]) == (
        0,
        0,
        None,
        None,
    )


@pytest.mark.slow
def test_a_rejected_event_lets_others_pass_and_is_given_up_with_its_reason(engine, outbox, clock):
    def answer(event):
        if event.event_id == 2:
            raise RejectedEventError("too large")

    sink = StubSink(answer)
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 4)
    delivery.step()
    assert numbers(sink) == [1, 3, 4]
    assert state(engine)["waiting"] == 1
    run_for(delivery, clock, 7200, step_s=120.0)
    told = state(engine)
    assert (told["waiting"], told["given_up"], told["failures"]) == (0, 1, 0)
    with reading(engine) as connection:
        (row,) = rejected(connection)
    assert (row["event_id"], row["attempts"], row["reason"]) == (2, TRIES, "too large")
    assert row["is_given_up"] and row["path"] == "/in/1.jpg"
    tell(engine, 1)
    delivery.step()
    assert numbers(sink) == [1, 3, 4, 5]


@pytest.mark.slow
def test_a_sink_that_rejects_everything_for_an_hour_loses_next_to_nothing(engine, outbox, clock):
    end = clock.elapsed() + 3600

    def answer(event):
        if clock.elapsed() < end:
            raise RejectedEventError("401")

    sink = StubSink(answer)
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 500)
    run_for(delivery, clock, 3600, step_s=20.0)
    assert state(engine)["given_up"] <= 10
    run_for(delivery, clock, 1800, step_s=20.0)
    assert state(engine)["waiting"] == 0
    assert len(set(numbers(sink))) == len(sink.events) >= 490


def test_what_a_sink_asks_for_is_waited(engine, outbox, clock):
    answers = [SinkError("busy", after_s=1000.0)]

    def answer(event):
        if answers:
            raise answers.pop()

    sink = StubSink(answer)
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 1)
    run_for(delivery, clock, 999, step_s=111.0)
    assert sink.events == []
    clock.advance(2)
    delivery.step()
    assert numbers(sink) == [1]


def test_given_up_events_are_offered_again_on_request(classifyd, engine, outbox, clock):
    is_broken = [True]

    def answer(event):
        if is_broken:
            raise RejectedEventError("no such\nhook")

    sink = StubSink(answer)
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 1)
    run_for(delivery, clock, 7200, step_s=120.0)
    assert "1 given up (`classifyd sinks rejected`)" in classifyd("status").out
    listed = json.loads(classifyd("sinks", "list", "--format", "json").out)
    assert [(each["name"], each["given_up"]) for each in listed] == [("stub", 1)]
    assert "/in/0.jpg" in classifyd("sinks", "rejected").out
    assert classifyd("sinks", "retry", "stubb").code == 2
    is_broken.clear()
    assert classifyd("sinks", "retry", "stub").out == "1 event offered again\n"
    delivery.step()
    assert numbers(sink) == [1]


def test_status_tells_of_a_sink_in_trouble(classifyd, engine, outbox, clock):
    sink = StubSink(lambda event: (_ for _ in ()).throw(OSError("disk \x1b[1m full")))
    delivery = Delivery("stub", sink, outbox, clock)
    tell(engine, 2)
    run_for(delivery, clock, 60, step_s=10.0)
    shown = classifyd("status", "--check")
    assert shown.code == 1
    assert "sink stub: disk \\x1b[1m full; next try" in shown.out


def test_a_kill_repeats_what_was_not_noted_and_misses_nothing(engine, outbox, clock):
    sink = StubSink()

    def kill(event):
        if event.event_id == 3:
            raise KeyboardInterrupt

    tell(engine, 5)
    broken = Outbox(engine)
    broken.delivered = lambda *_: None
    with pytest.raises(KeyboardInterrupt):
        Delivery("stub", StubSink(kill), broken, clock).step()
    Delivery("stub", sink, outbox, clock).step()
    assert numbers(sink) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_hanging_webhook_holds_up_nobody(engine, outbox, tmp_path):
    """Not even the end: what it has not answered is delivered by the next daemon."""
    from daemon.clock import SystemClock

    path = tmp_path / "events.jsonl"
    with running_receiver() as receiver:
        receiver.hangs.set()
        webhook = Webhook(WebhookOptions(url=receiver.url, timeout_s=30))
        built = {"webhook": webhook, "jsonl": JsonlSink(JsonlOptions(path=path))}
        tell(engine, 50, tuple(built))
        deliveries = [Delivery(name, sink, outbox, SystemClock()) for name, sink in built.items()]
        threads = DeliveryThreads(deliveries, SystemClock())
        threads.start()
        until(lambda: path.exists() and len(path.read_bytes().splitlines()) == 50)
        until(lambda: len(receiver.posted) == 1)
        threads.stop(0.2)
        receiver.hangs.clear()
        until(lambda: not [t for t in threading.enumerate() if t.name == "sink webhook"])
        begun = len(receiver.posted)
        Delivery("webhook", webhook, outbox, SystemClock()).step()
        webhook.close()
    assert len(set(receiver.numbers())) == 50
    assert len(receiver.posted) <= 50 + begun
