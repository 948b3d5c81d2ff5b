"""What happens to watched folders and to files in flight, done to the real daemon as it runs."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from faults.audit import Scene, audit
from faults.pictures import draw

from daemon.testing import DaemonProcess, daemon_process, stub_bundle, until

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own, not started yet."""
    with daemon_process(tmp_path) as daemon:
        daemon.deploy(stub_bundle(tmp_path / "bundles"))
        yield daemon


def scene(daemon):
    folder = daemon.folder
    return Scene(daemon.database, folder / "state", [daemon.inbox, folder / "labels"])


def alarm_of(daemon):
    """What the inbox is in trouble with, if anything."""
    return daemon.query("SELECT alarm FROM source_state WHERE title = 'inbox'")[0][0]


def until_at_rest(daemon):
    until(lambda: not audit(scene(daemon)), 90.0, f"rest: {audit(scene(daemon))}; {daemon.log}")


def test_what_the_kernel_drops_when_its_queue_overflows_is_found_nevertheless(daemon):
    if not QUEUE.exists() or (most := int(QUEUE.read_text())) > 200_000:
        pytest.skip("needs an inotify queue that can be filled")
    daemon.start()
    flags = [daemon.inbox / "a.txt", daemon.inbox / "b.txt"]
    daemon.send(signal.SIGSTOP)
    for number in range(most + 100):  # in turn, or the kernel merges them
        flags[number % 2].write_bytes(b"")
    for number in range(10):
        draw(daemon.inbox / f"{number}.png", number, number)
    daemon.send(signal.SIGCONT)
    daemon.until_done(10)
    until_at_rest(daemon)
    draw(daemon.inbox / "later.png", 4, 100)
    daemon.until_done(11)
    assert daemon.stop() == 0


def test_files_that_change_between_claim_and_decoding_end_as_what_they_became(daemon):
    daemon.configure({"runtime": {"name": "brightness", "batch_s": 2.0}, "batch": {"max_size": 3}})
    daemon.start()
    outside = daemon.folder / "outside"
    for number in range(9):
        draw(outside / f"{number}.png", number, number)
    for path in sorted(outside.iterdir()):
        path.rename(daemon.inbox / path.name)
    until(lambda: daemon.states().get("claimed", 0) >= 6, what="two batches claimed")
    # The worker is busy with the first batch; the second waits, claimed, for its turn.
    waiting = [
        Path(path)
        for (path,) in daemon.query(
            "SELECT path FROM file WHERE state = 'claimed' ORDER BY id DESC LIMIT 3"
        )
    ]
    replaced, truncated, deleted = waiting
    draw(replaced, 1, 1000)
    os.truncate(truncated, 40)
    deleted.unlink()
    until_at_rest(daemon)
    ends = dict(daemon.query("SELECT path, state FROM file WHERE is_current"))
    assert ends[str(replaced)] == "done"
    assert ends[str(truncated)] == "quarantined"
    assert ends[str(deleted)] == "gone"
    labels = dict(daemon.query("SELECT path, label FROM latest_prediction"))
    assert labels[str(replaced)] == "band-1"
    assert len(labels) == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs the superuser")
def test_a_folder_that_is_unmounted_and_mounted_again_loses_nothing(daemon):
    disk = daemon.folder / "disk"
    disk.mkdir()

    def mount():
        return subprocess.run(
            ["mount", "--bind", disk, daemon.inbox], capture_output=True, text=True
        )

    if (done := mount()).returncode:
        pytest.skip(f"mount is refused: {done.stderr.strip()}")
    try:
        draw(daemon.inbox / "before.png", 1, 1)
        daemon.start()
        daemon.until_done(1)
        for _ in range(2):
            subprocess.run(["umount", "--lazy", daemon.inbox], check=True)
            until(lambda: alarm_of(daemon), what="the alarm")
            assert "mount it" in alarm_of(daemon)
            draw(disk / f"meanwhile-{os.getpid()}.png", 5, 5)
            assert daemon.query("SELECT removed_at FROM file WHERE removed_at NOT NULL") == []
            assert mount().returncode == 0
            until(lambda: not alarm_of(daemon), what="its end")
        daemon.until_done(2)
        until_at_rest(daemon)
        assert daemon.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", daemon.inbox], check=False)


class OrdinaryDaemon(DaemonProcess):
    """A daemon without privileges: what its owner may not read, it may not either."""

    def _command(self, *arguments: str) -> list[str]:
        drop = WITHOUT_PRIVILEGES if os.geteuid() == 0 else []
        return [*drop, *super()._command(*arguments)]


@pytest.fixture
def ordinary(tmp_path):
    """A daemon of an ordinary user."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("giving up the superuser's privileges needs setpriv")
    daemon = OrdinaryDaemon(tmp_path)
    daemon.deploy(stub_bundle(tmp_path / "bundles"))
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def test_permissions_that_are_taken_away_and_given_back_cost_waiting_only(ordinary):
    daemon, inbox = ordinary, ordinary.inbox
    secret = draw(inbox / "secret.png", 2, 1)
    secret.chmod(0)
    inner = draw(inbox / "inner" / "kept.png", 3, 2).parent
    daemon.start()
    until(lambda: daemon.query("SELECT 1 FROM file WHERE reason LIKE '%ermission%'"))
    daemon.until_done(1)
    inner.chmod(0)
    draw(inbox / "after.png", 4, 3)
    daemon.until_done(2)
    inbox.chmod(0)
    until(lambda: alarm_of(daemon), what="the alarm")
    assert "cannot be read" in alarm_of(daemon)
    assert daemon.query("SELECT 1 FROM file WHERE removed_at NOT NULL") == []
    for path in (inbox, inner, secret):
        path.chmod(0o755)
    until(lambda: not alarm_of(daemon), what="its end")
    until_at_rest(daemon)
    wanted = "SELECT state FROM file WHERE path NOT LIKE '%.part'"  # it may be seen before its name
    assert [row[0] for row in daemon.query(wanted)] == ["done"] * 3
    assert daemon.stop() == 0
