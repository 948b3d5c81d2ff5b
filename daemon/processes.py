"""What Linux tells of this process and those that it started."""

import os
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


def below(pid: int) -> list[int]:
    """Return all processes that a process started, and those that they did."""
    direct: list[int] = []
    for path in (PROC / str(pid) / "task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            direct += map(int, path.read_text("ascii").split())
    return direct + [each for child in direct for each in below(child)]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 where there is none."""
    try:
        return int((PROC / str(pid) / "statm").read_text("ascii").split()[1]) * _PAGE
    except OSError:
        return 0


def command(pid: int) -> str:
    """Return how a process was called, empty where it cannot be known."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()


def listener(port: int) -> int | None:
    """Return which process of this user listens on a TCP port, None where that is not known."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or ended meanwhile
            if any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()):
                return int(process.name)
    return None


def _listening(port: int) -> list[str]:
    """Return the inodes of listening sockets on a port, out of the kernel's tables."""
    found = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text("ascii").splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    found.append(rest[5])
    return found
