"""What is told to systemd, by its notify protocol: datagrams to a socket that it names.

Without that socket nothing is said, and nothing else changes.
"""

import logging
import os
import re
import socket
from collections.abc import MutableMapping

from daemon.clock import Clock
from daemon.text import printable

_log = logging.getLogger("classifyd")
_SEND_S = 1.0
_MOST_STATUS = 1000


class Systemd:
    """Speaks for the main process; `socket_name` begins with `@` where it is an abstract one.

    `watchdog_s` is within how many seconds systemd wants to hear that all is well, None where
    it does not ask.
    """

    def __init__(
        self, socket_name: str | None, clock: Clock, watchdog_s: float | None = None
    ) -> None:
        self._address = socket_name and re.sub("^@", "\0", socket_name)
        self._clock = clock
        self._alive_every_s = None if watchdog_s is None else watchdog_s / 4
        self._alive_at = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """The service does its work: at the first time, or again after a reload."""
        self._say("READY=1", self._status_line(status))

    def status(self, text: str) -> None:
        """Say in a line what is being done; the same again is not sent."""
        if text != self._status:
            self._say(self._status_line(text))

    def alive(self) -> None:
        """All gets on; to be called at least each second, sent as often as systemd needs it."""
        if self._alive_every_s is not None and self._clock.elapsed() >= self._alive_at:
            self._alive_at = self._clock.elapsed() + self._alive_every_s
            self._say("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` tells the end."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.elapsed() * 1e6)}")

    def stopping(self, status: str) -> None:
        """The service ends."""
        self._say("STOPPING=1", self._status_line(status))

    def wait_for(self, seconds: float) -> None:
        """Starting or stopping takes longer: up to so many seconds from now."""
        self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _status_line(self, text: str) -> str:
        self._status = text
        return f"STATUS={printable(text)[:_MOST_STATUS]}"

    def _say(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(_SEND_S)
            try:
                out.connect(self._address)
                out.send("\n".join(lines).encode())
            except OSError as error:
                _log.debug("systemd is not told %s: %s", lines[0], error)


def take_systemd(environment: MutableMapping[str, str], clock: Clock) -> Systemd:
    """Return the systemd that started this process, if one did.

    Its variables are taken out of the environment: they are not for our own processes.
    """
    name = environment.pop("NOTIFY_SOCKET", None)
    micros = environment.pop("WATCHDOG_USEC", "")
    whose = environment.pop("WATCHDOG_PID", str(os.getpid()))
    is_asked = micros.isdigit() and int(micros) > 0 and whose == str(os.getpid())
    return Systemd(name or None, clock, int(micros) / 1e6 if is_asked else None)
