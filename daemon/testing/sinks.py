"""What every sink must keep to, in the box or outside; and what tests of sinks need."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from daemon.contracts import Sink
from daemon.domain import Event
from daemon.text import display_path


def make_event(
    number: int, path: Path | str = "/in/rex.jpg", kind: str = "classified", **told: object
) -> Event:
    """Return an event as the daemon makes them; `told` replaces parts of its payload."""
    payloads: Mapping[str, Mapping[str, Any]] = {
        "classified": {
            "path": str(path),
            "source": "inbox",
            "sha256": "0" * 64,
            "label": "dog",
            "confidence": 0.9,
            "is_unknown": False,
            "top": [["dog", 0.9], ["cat", 0.1]],
            "model_version_id": 1,
        },
        "failed": {"path": str(path), "source": "inbox", "reason": "truncated"},
        "model_activated": {"model_version": "compact", "reason": "better", "who": None},
    }
    at = f"2026-05-01T12:00:{number % 60:02d}.000Z"
    return Event(number, kind, at, {**payloads[kind], **told})


def check_sink(make: Callable[[], Sink], image: Path, sha256: str, got: Callable[[], Any]) -> None:
    """Assert what every sink must keep to, whatever it does with events.

    It takes all kinds of events, those of names that are no text included; an event that comes
    again, to it or to the next one after a restart, changes nothing in what `got` returns; a
    closed sink may be closed again and goes on with the next event.
    """
    odd = os.fsencode(image.parent) + b"/caf\xe9\n.jpg"
    events = [
        make_event(1, image, sha256=sha256),
        make_event(2, image, kind="failed"),
        make_event(3, kind="model_activated"),
        make_event(4, display_path(odd), path_hex=odd.hex()),
    ]
    sink = make()
    sink.close()  # nothing was opened yet
    for event in events:
        sink.publish(event)
    first = got()
    sink.publish(events[-1])
    sink.close()
    sink.close()
    sink.publish(events[-1])
    sink.close()
    again = make()
    for event in events:
        again.publish(event)
    again.close()
    assert got() == first, "events that came again have changed something"


class StubSink:
    """A `Sink` that keeps what it gets; `answer`, asked before each event, may raise or wait."""

    def __init__(self, answer: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self.is_closed = False
        self._answer = answer

    def publish(self, event: Event) -> None:
        """Keep the event."""
        self._answer(event)
        self.events.append(event)

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that a receiver got; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away, which tests make them do."""


class Receiver:
    """A real HTTP server on loopback that keeps what is posted to it.

    `answers` are the statuses of the next requests, then 204; `headers` go with each; while
    `hangs` is set, no request is answered.
    """

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        self.hangs = threading.Event()
        self._end = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def start(self) -> None:
        """Begin to answer."""
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """End, hanging requests too."""
        self._end.set()
        self._server.shutdown()
        self._server.server_close()

    def numbers(self) -> list[str]:
        """Return the `webhook-id` of each request, in order."""
        return [each.headers["webhook-id"] for each in self.posted]

    def _take(self, posted: Posted) -> int:
        self.posted.append(posted)
        while self.hangs.is_set() and not self._end.wait(0.02):
            pass
        return self.answers.pop(0) if self.answers else 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver._take(Posted(self.path, headers, body))
                text = b"" if status == 204 else b"because"
                self.send_response(status)
                for name, value in {**receiver.headers, "content-length": len(text)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


@contextmanager
def running_receiver(answers: Sequence[int] = ()) -> Iterator[Receiver]:
    """Run a receiver until the block ends."""
    receiver = Receiver()
    receiver.answers = list(answers)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
