"""A real systemd as process 1 of namespaces of its own, over a copy-on-write view of this machine.

Nothing that happens there is seen outside: the disk is an overlay in memory, and the processes
are in a control group of their own. It needs root, Linux with overlays, and systemd installed.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from daemon.testing import until

ROOT = Path(__file__).parents[1]
INSTALLED = "/opt/classifyd"
_SYSTEMD = Path("/usr/lib/systemd/systemd")
_TARGET = """\
[Unit]
Requires=systemd-journald.service dbus.service
AllowIsolate=yes
"""

_BOOT = r"""
set -e
base=$1 checkout=$2 installed=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
root=$base/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
mkdir -p "$root$installed" "$root/etc/systemd/system" "$root/run" "$root/old"
mount --bind "$checkout" "$root$installed"
mount -o remount,bind,ro "$root$installed"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue" "$root/dev/hugepages"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
cp "$base.target" "$root/etc/systemd/system/classifyd-test.target"
cd "$root"
pivot_root . old
umount -l /old
exec env -i container=classifyd PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --unit=classifyd-test.target --log-target=journal
"""


def why_not() -> str | None:
    """Tell why no such machine can be made here; None where it can be tried."""
    if os.geteuid() != 0:
        return "needs root, to make namespaces and mounts"
    for program in ("unshare", "nsenter", "pivot_root", "systemctl", "journalctl"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if not _SYSTEMD.exists():
        return "needs systemd installed (it need not be running)"
    return None if _control_groups() else "needs control groups of version 2"


def _control_groups() -> Path | None:
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(line[1]) for line in lines if line[2] == "cgroup2"), None)


class Machine:
    """The running machine; commands are executed inside it, as its root."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Execute a command and wait for its end."""
        enter = ["nsenter", "-t", str(self._pid), "-a", *command]
        return subprocess.run(enter, capture_output=True, text=True, timeout=timeout_s)

    def out(self, *command: str) -> str:
        """Execute a command that must succeed, and return what it printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folder it is in."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
        enter = ["nsenter", "-t", str(self._pid), "-a", "sh", "-c", script, "sh", path]
        subprocess.run(enter, input=text, text=True, check=True)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.out("systemctl", "show", unit, "--property", name, "--value")


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine, and end all of it afterwards; raises `TimeoutError` where it does not."""
    base, group = folder / "machine", _group()
    base.mkdir()
    base.with_name("machine.target").write_text(_TARGET)
    log = (folder / "machine.log").open("wb")
    spaces = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--fork", "--kill-child"]
    command = ["unshare", *spaces, "sh", "-c", _BOOT, "sh", str(base), str(ROOT), INSTALLED]
    into = f'echo $$ > "{group}/cgroup.procs"; exec "$@"'
    outer = subprocess.Popen(
        ["sh", "-c", into, "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        machine = Machine(until(lambda: _child(outer), 10.0, "a process 1"))
        until(lambda: _is_up(machine), 60.0, f"systemd up; see {log.name}")
        yield machine
    finally:
        outer.kill()  # and with it process 1, and with that all others
        outer.wait()
        log.close()
        with contextlib.suppress(TimeoutError):
            until(lambda: _removed(group), 30.0)


def _child(outer: subprocess.Popen[bytes]) -> int | None:
    if outer.poll() is not None:
        raise ChildProcessError(f"no namespaces could be made: exit code {outer.returncode}")
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    return int(children[0]) if children else None


def _is_up(machine: Machine) -> bool:
    done = machine.run("systemctl", "is-active", "classifyd-test.target")
    return done.stdout.strip() == "active"


def _group() -> Path:
    root = _control_groups()
    assert root is not None
    group = root / f"classifyd-test-{os.getpid()}"
    group.mkdir()
    return group


def _removed(group: Path) -> bool:
    """Remove a group and those in it, as far as their processes have ended."""
    for folder in sorted(group.glob("**/"), key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not group.exists()


PYTHON = f"{INSTALLED}/.venv/bin/python" if (ROOT / ".venv").is_dir() else sys.executable
