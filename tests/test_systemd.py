"""systemd's notify protocol: what is said in each phase, over real sockets."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from drawing import draw

from daemon.systemd import Systemd, take_systemd
from daemon.testing import ManualClock, daemon_process, stub_bundle, until


class Listener:
    """systemd's end of the notify socket: every datagram, in order."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.messages: list[list[str]] = []

    def heard(self) -> list[list[str]]:
        """All messages so far, each as its lines."""
        while True:
            try:
                self.messages.append(self._socket.recv(65_536).decode().split("\n"))
            except BlockingIOError:
                return self.messages

    def lines(self) -> list[str]:
        return [line for message in self.heard() for line in message]

    def until(self, start: str, after: int = 0) -> str:
        """Wait for a line of this start among those after so many; returns it."""
        return until(
            lambda: next((line for line in self.lines()[after:] if line.startswith(start)), ""),
            what=f"{start} in {self.messages}",
        )

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def address(request, tmp_path):
    return str(tmp_path / "notify") if request.param == "path" else f"@classifyd-{tmp_path.name}"


@pytest.fixture
def listener(address):
    listener = Listener(address)
    yield listener
    listener.close()


def test_each_message_is_a_datagram_of_lines(address, listener):
    clock = ManualClock()
    clock.advance(12.5)
    systemd = Systemd(address, clock, watchdog_s=20.0)
    systemd.status("loading a\nmodel")
    systemd.status("loading a\nmodel")
    systemd.wait_for(90.0)
    systemd.ready("serving")
    systemd.reloading()
    systemd.stopping("ending")
    assert listener.heard() == [
        ["STATUS=loading a\\nmodel"],
        ["EXTEND_TIMEOUT_USEC=90000000"],
        ["READY=1", "STATUS=serving"],
        ["RELOADING=1", "MONOTONIC_USEC=12500000"],
        ["STOPPING=1", "STATUS=ending"],
    ]


def test_the_watchdog_is_told_four_times_within_its_time(address, listener):
    clock = ManualClock()
    systemd = Systemd(address, clock, watchdog_s=20.0)
    for _ in range(20):
        systemd.alive()
        clock.advance(1.0)
    assert listener.lines() == ["WATCHDOG=1"] * 4


def test_the_variables_are_taken_out_of_the_environment(address, listener):
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000", "HOME": "/"}
    systemd = take_systemd(environment | {}, ManualClock())
    left = {**environment, "WATCHDOG_PID": str(os.getpid())}
    take_systemd(left, ManualClock()).alive()
    assert left == {"HOME": "/"}
    systemd.alive()
    assert listener.lines() == ["WATCHDOG=1"] * 2


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {},
    ],
)
def test_a_watchdog_of_another_process_or_none_is_not_fed(address, listener, variables):
    take_systemd({"NOTIFY_SOCKET": address, **variables}, ManualClock()).alive()
    assert listener.lines() == []


def test_without_a_socket_or_with_one_that_is_gone_nothing_happens(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        systemd = take_systemd(environment, ManualClock())
        systemd.ready("serving")
        systemd.stopping("ending")


# --- the real daemon


def variables_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["path"], indirect=True)
def test_the_daemon_tells_of_every_phase(address, listener, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    slow = {"runtime": {"name": "brightness", "batch_s": 1.0}, "batch": {"max_size": 2}}
    with daemon_process(tmp_path, slow) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        daemon.start()
        listener.until("READY=1")
        lines = listener.lines()
        before = lines[: lines.index("READY=1")]
        assert "STATUS=opening the database" in before
        assert "STATUS=loading model stub" in before
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in before)
        assert lines[lines.index("READY=1") + 1].startswith("STATUS=stub on brightness: 0 images")
        assert until(daemon.workers)
        for pid in daemon.workers():
            assert "NOTIFY_SOCKET" not in variables_of(pid)
            assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "200\n"

        count = len(listener.lines())
        until(lambda: listener.lines()[count:].count("WATCHDOG=1") >= 3)  # idle and well

        asked = time.monotonic()
        count = len(listener.lines())
        daemon.send(signal.SIGHUP)
        listener.until("RELOADING=1", count)
        listener.until("READY=1", count)
        told = int(listener.until("MONOTONIC_USEC=", count).split("=")[1]) / 1e6
        assert asked <= told <= time.monotonic()

        for band in range(6):
            draw(daemon.inbox / f"{band}.png", band)
        until(lambda: daemon.states().get("claimed"))
        count = len(listener.lines())
        assert daemon.stop() == 0
        last = listener.lines()[count:]
        assert last[last.index("STOPPING=1") + 1].startswith("STATUS=stopping: ")


BREAKS = """
from daemon import upkeep

def look(self):
    raise SystemExit("broken")

upkeep._LOOK_S = 0.1
upkeep.Upkeep.look = look
"""


@pytest.mark.slow
def test_a_part_that_dies_takes_the_daemon_down_in_order(tmp_path):
    (tmp_path / "breaks.py").write_text(BREAKS)
    with daemon_process(tmp_path, {"plugins": ["daemon.testing.stubs", "breaks.py"]}) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        daemon.launch()
        assert daemon.wait() == 1
        said = daemon.log.read_text()
        assert "upkeep has ended (SystemExit: broken)" in said.splitlines()[-1]
        assert "stopped" in said and "Traceback" not in said
        assert daemon.query("SELECT phase FROM heartbeat") == [("stopped",)]
