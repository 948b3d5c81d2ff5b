"""The `webhook` sink against a real server."""

import base64
import hashlib
import hmac
import json
import socket
import time
from email.utils import formatdate

import pytest

from daemon.errors import RejectedEventError, SinkError
from daemon.testing import make_event, running_receiver
from plugins.sinks.webhook import Webhook, WebhookOptions


@pytest.fixture
def receiver():
    with running_receiver() as receiver:
        yield receiver


def webhook(url, **options):
    return Webhook(
        WebhookOptions.model_validate({"url": url, **options}), now=lambda: 1_700_000_000
    )


def published(receiver, event, **options):
    sink = webhook(receiver.url, **options)
    try:
        sink.publish(event)
    finally:
        sink.close()
    return receiver.posted[-1]


@pytest.mark.parametrize("given", ["option", "variable", "file", "base64"])
def test_a_receiver_can_verify_what_it_gets(receiver, tmp_path, monkeypatch, given):
    key = b"a key of some length"
    (tmp_path / "key").write_bytes(key + b"\n")
    monkeypatch.setenv("HOOK_KEY", key.decode())
    options = {
        "option": {"secret": key.decode()},
        "variable": {"secret_env": "HOOK_KEY"},
        "file": {"secret_file": str(tmp_path / "key")},
        "base64": {"secret": "whsec_" + base64.b64encode(key).decode()},
    }[given]
    posted = published(receiver, make_event(7, "/in/caf\u00e9.jpg"), **options)
    number, at = posted.headers["webhook-id"], posted.headers["webhook-timestamp"]
    assert (number, at) == ("7-2026-05-01T12:00:07.000Z", "1700000000")
    signed = f"{number}.{at}.".encode() + posted.body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert posted.headers["webhook-signature"] == f"v1,{digest}"
    body = json.loads(posted.body)
    assert (body["event_id"], body["kind"], body["path"]) == (7, "classified", "/in/café.jpg")


def test_an_event_that_comes_again_has_the_same_id(receiver):
    first = published(receiver, make_event(7))
    assert published(receiver, make_event(7)).headers["webhook-id"] == first.headers["webhook-id"]


def test_without_a_secret_nothing_is_signed_and_headers_are_sent(receiver):
    posted = published(receiver, make_event(1), headers={"Authorization": "Bearer x"})
    assert "webhook-signature" not in posted.headers
    assert posted.headers["authorization"] == "Bearer x"
    assert posted.headers["content-type"] == "application/json"


def test_only_what_is_wanted_is_posted(receiver):
    sink = webhook(receiver.url, events=["classified"], min_confidence=0.8)
    sink.publish(make_event(1))
    sink.publish(make_event(2, kind="failed"))
    sink.publish(make_event(3, confidence=0.7))
    sink.close()
    assert [json.loads(each.body)["event_id"] for each in receiver.posted] == [1]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413, 422])
def test_what_the_receiver_will_never_take_is_rejected_with_its_words(receiver, status):
    receiver.answers = [status]
    with pytest.raises(RejectedEventError, match=f"127.0.0.1:.* answered {status}: because"):
        published(receiver, make_event(1))


@pytest.mark.parametrize("status", [301, 307, 408, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again(receiver, status):
    receiver.answers = [status]
    receiver.headers = {"location": receiver.url}
    with pytest.raises(SinkError) as caught:
        published(receiver, make_event(1))
    assert not isinstance(caught.value, RejectedEventError)
    assert len(receiver.posted) == 1, "a redirect was followed"


def test_retry_after_is_passed_on_as_seconds_or_as_a_date(receiver):
    for asked, least, most in (
        ("120", 120, 120),
        (formatdate(time.time() + 300, usegmt=True), 200, 300),
        ("soon", None, None),
    ):
        receiver.answers, receiver.headers = [429], {"retry-after": asked}
        with pytest.raises(SinkError) as caught:
            published(receiver, make_event(1))
        after = caught.value.after_s
        assert after is None if least is None else least <= after <= most


def test_a_server_that_hangs_or_is_not_there_is_told_in_words_without_the_address(receiver):
    receiver.hangs.set()
    with pytest.raises(SinkError, match=r"^127\.0\.0\.1:\d+: no answer within 0\.2 s$"):
        published(receiver, make_event(1), timeout_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SinkError, match=rf"^127\.0\.0\.1:{port}: Connection refused$"):
        webhook(f"http://127.0.0.1:{port}/token").publish(make_event(1))
    with pytest.raises(SinkError, match=r"^127\.0\.0\.1:\d+: .*(SSL|ssl)"):
        webhook(receiver.url.replace("http:", "https:")).publish(make_event(1))


def test_a_connection_that_the_server_closed_is_made_anew(receiver):
    sink = webhook(receiver.url)
    sink.publish(make_event(1))
    receiver.headers = {"connection": "close"}
    sink.publish(make_event(2))
    sink.publish(make_event(3))
    sink.close()
    assert len(receiver.posted) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"secret_env": "NOT_SET_HERE"}, "variable NOT_SET_HERE"),
        ({"secret_file": "/not/there"}, "secret cannot be read: .*No such file"),
        ({"secret": ""}, "is empty"),
        ({"secret": "whsec_%%%"}, "no Base64"),
    ],
)
def test_a_secret_that_cannot_be_had_posts_nothing(receiver, options, says):
    with pytest.raises(SinkError, match=says):
        webhook(receiver.url, **options).publish(make_event(1))
    assert receiver.posted == []
