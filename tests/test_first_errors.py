"""What goes wrong on the first day, tried as a new user would: each ends in one message that
helps, and `doctor` would have told."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import RuntimeLoadError, way_out
from daemon.lock import database_lock
from daemon.quiet import import_keras

ROOT = Path(__file__).parents[1]
# A daemon of this machine may have the default port.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "CLASSIFYD_METRICS__PORT": "null"}


def ordinary() -> list[str]:
    """Return what to put before a command so that rights count for it: for root they do not."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv (util-linux) to meet a lack of rights")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def called(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


def classifyd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Call the program as a user to whom rights apply."""
    return called(*ordinary(), sys.executable, "-m", "daemon", *arguments, cwd=cwd)


def only_message(done: subprocess.CompletedProcess) -> str:
    """Return the one line that a command ended with."""
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def begun(tmp_path):
    """A folder as `classifyd init` leaves it, whose rights are given back in the end."""
    folder = tmp_path / "photos"
    done = called(sys.executable, "-m", "daemon", "init", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    yield folder
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def verdicts(folder: Path) -> dict[str, tuple[str, str]]:
    """Ask the doctor: verdict and text by check."""
    done = classifyd("doctor", "--format", "json", cwd=folder)
    return {
        finding["check"]: (finding["verdict"], f"{finding['says']} {finding['remedy']}")
        for finding in json.loads(done.stdout)
    }


def test_without_a_configuration_one_is_made_by_init(tmp_path):
    done = classifyd("run", cwd=tmp_path)
    assert done.returncode == 2 and only_message(done).endswith("classifyd init")


def test_a_fresh_folder_has_nothing_wrong(begun):
    assert "fail" not in {verdict for verdict, _ in verdicts(begun).values()}


def test_a_folder_without_rights(begun):
    begun.chmod(0o555)
    done = classifyd("run", cwd=begun)
    assert done.returncode == 2
    assert "state cannot be made (Permission denied); mend the rights" in only_message(done)
    told = verdicts(begun)
    for place in ("state_dir", "database"):
        verdict, says = told[f"{place} {begun}"]
        assert verdict == "fail" and "cannot be written" in says and "chown" in says


def test_an_inbox_that_cannot_be_read(begun):
    (begun / "inbox").chmod(0)
    verdict, says = verdicts(begun)[f"source {begun / 'inbox'}"]
    assert verdict == "fail" and f"chmod -R u+rX {begun / 'inbox'}" in says


def test_the_parent_of_an_inbox_is_missing(begun):
    config = begun / "config.yaml"
    config.write_text(config.read_text().replace("path: inbox}]\n\n", "path: card/in}]\n\n"))
    verdict, says = verdicts(begun)[f"source {begun / 'card' / 'in'}"]
    assert verdict == "warn" and f"mkdir -p {begun / 'card' / 'in'}" in says


def test_a_database_of_somebody_else(begun):
    assert classifyd("db", "upgrade", cwd=begun).returncode == 0
    database = begun / "state" / "classifyd.db"
    database.chmod(0o444)
    verdict, says = verdicts(begun)["database files"]
    assert verdict == "fail" and f"chmod u+w {database}" in says
    done = classifyd("run", cwd=begun)
    assert done.returncode == 1 and "check the rights of its file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_another_program_has_the_port_of_the_metrics(begun, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setitem(ENVIRONMENT, "CLASSIFYD_METRICS__PORT", str(port))
        done = classifyd("run", cwd=begun)
        verdict, says = verdicts(begun)["metrics"]
    assert done.returncode == 2
    taken = f"127.0.0.1 port {port} is taken by process {os.getpid()}"
    for said in (only_message(done), f"metrics.port: {says}"):
        assert taken in said and "give this daemon another" in said
    assert verdict == "fail"


def test_another_daemon_has_the_database(begun):
    (begun / "state").mkdir()
    with database_lock(begun / "state" / "classifyd.db"):
        done = classifyd("run", cwd=begun)
    assert done.returncode == 75
    assert f"another classifyd (process {os.getpid()}) works on" in only_message(done)


def test_a_disk_that_is_mounted_for_reading_only(begun):
    script = f"mount --bind {begun} {begun} && mount -o remount,bind,ro {begun} && cd {begun}"
    if called("unshare", "-rm", "sh", "-c", script, cwd=begun).returncode:
        pytest.skip("this machine lets nobody mount")
    run = f"{sys.executable} -m daemon"
    done = called("unshare", "-rm", "sh", "-c", f"{script} && {run} run", cwd=begun)
    assert done.returncode == 2 and "mount its disk for writing" in only_message(done)
    done = called("unshare", "-rm", "sh", "-c", f"{script} && {run} doctor", cwd=begun)
    assert done.returncode == 1 and "is on a disk that is mounted for reading only" in done.stdout


def test_weights_that_are_not_at_hand(begun):
    config = begun / "config.yaml"
    config.write_text(config.read_text().replace("backbone: compact\n\n", "backbone: vgg16\n\n"))
    verdict, says = verdicts(begun)["weights"]
    assert verdict == "warn" and says.startswith("vgg16: its ImageNet weights are not on")
    assert "`backbone: compact`" in says


def test_a_processor_without_avx_is_told_before_it_ends_the_process(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse4_2\n")
    with pytest.raises(RuntimeLoadError, match="has no AVX, which TensorFlow needs; use a machine"):
        import_keras(tmp_path / "cpuinfo")


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EROFS, "mount"), (errno.ENOSPC, "make room"), (errno.EACCES, "rights")],
)
def test_the_way_out_fits_the_reason(number, says):
    assert says in way_out(OSError(number, ""))
