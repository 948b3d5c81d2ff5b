"""A small HTTP server on a thread of its own: a few pages, to be read and nothing else.

Nothing polls: the thread sleeps until somebody connects. A slow or silent client costs a thread
for seconds; where there are too many, the oldest goes.
"""

import ipaddress
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, TCPServer, ThreadingMixIn
from typing import Any

_log = logging.getLogger("classifyd.metrics")
_PATIENCE_S = 5.0
_MOST_CLIENTS = 16
_REST_S = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Page = Callable[[str], Answer]
"""Makes an answer to whoever would accept these media types."""


class Server:
    """Listens from the beginning, and answers once started; `pages`, by path, may be replaced."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        """Bind the address; raises `OSError` where that is not possible."""
        self._tcp = _Tcp(host, port)
        self.pages = pages
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._stopping = False

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._tcp.server_address[1])

    @property
    def pages(self) -> Mapping[str, Page]:
        """What is answered."""
        return self._tcp.pages

    @pages.setter
    def pages(self, pages: Mapping[str, Page]) -> None:
        self._tcp.pages = pages

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self._tcp.handle_request()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._stopping = True
        with suppress(OSError):
            self._tcp.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)
        self._tcp.server_close()


class _Tcp(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        # An IPv6 address is another kind of socket.
        self.address_family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.pages: Mapping[str, Page] = {}
        self.host = host
        self.is_private = ipaddress.ip_address(str(address[0])).is_loopback
        self._clients: deque[socket.socket] = deque()
        self._lock = threading.Lock()
        super().__init__((str(address[0]), port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; where that fails (too many open files), not at once again."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_REST_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread; of too many clients the oldest is cut off."""
        with self._lock:
            self._clients.append(request)
            oldest = self._clients[0] if len(self._clients) > _MOST_CLIENTS else None
        if oldest is not None:
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock, suppress(ValueError):
            self._clients.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say little of clients that go away in the middle."""
        _log.debug("a client of the metrics went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server_version = "classifyd"
    sys_version = ""

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        assert isinstance(server, _Tcp)
        self._tcp = server
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        """Answer with a page."""
        self._send(self._answer())

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Refuse: here is nothing to change."""
        self._send(
            _said(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"), ("Allow", "GET, HEAD")
        )

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815

    def _answer(self) -> Answer:
        if self._tcp.is_private and not _is_near(self.headers.get("Host"), self._tcp.host):
            return _said(HTTPStatus.FORBIDDEN, "ask by an address of this machine, or localhost")
        path = self.path.partition("?")[0]
        page = self._tcp.pages.get(path)
        if page is None:
            known = "  ".join(self._tcp.pages)
            return _said(HTTPStatus.NOT_FOUND, f"there is no such page; known: {known}")
        try:
            return page(self.headers.get("Accept", ""))
        except Exception:
            _log.exception("page %s failed", path)
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; the log says why")

    def _send(self, answer: Answer, *headers: tuple[str, str]) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep requests out of the log, where monitoring would fill it."""
        _log.debug(format, *args)


def _said(status: HTTPStatus, text: str) -> Answer:
    return Answer(f"{text}\n".encode(), status=status)


def _is_near(asked: str | None, host: str) -> bool:
    """Tell whether a request names this machine. A browser that a stranger's page sends here, by
    a name that leads to a loopback address, names the stranger's."""
    if asked is None:
        return True  # no browser
    name = asked.rpartition(":")[0] if not asked.endswith("]") and ":" in asked else asked
    name = name.strip("[]").lower()
    if name in ("localhost", host.lower()):
        return True
    try:
        return ipaddress.ip_address(name) is not None
    except ValueError:
        return False
