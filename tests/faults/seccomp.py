"""Seccomp notification by ctypes: a process asks before each of some system calls.

Linux only, on the machines of `NUMBERS`; needs no privilege, no tracer, no compiler.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "sendfile": 40, "fsync": 74, "fdatasync": 75, "ftruncate": 77,
        "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "mkdirat": 258,
        "unlinkat": 263, "renameat": 264, "linkat": 265, "renameat2": 316,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "ftruncate": 46, "write": 64,
        "pwrite64": 68, "sendfile": 71, "fsync": 82, "fdatasync": 83, "renameat2": 276,
    },
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALL = {"x86_64": 317, "aarch64": 277}
_RECV, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_SET_MODE_FILTER, _NEW_LISTENER, _NO_NEW_PRIVS = 1, 8, 38
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction)))


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that waits for leave: thread number, name, and its six arguments."""

    cookie: int
    thread: int
    name: str
    arguments: tuple[int, ...]


def unavailable() -> str | None:
    """Say why system calls cannot be watched here, None where they can."""
    if not sys.platform.startswith("linux") or platform.machine() not in NUMBERS:
        return f"no seccomp notification on {sys.platform} {platform.machine()}"
    if tuple(map(int, platform.release().split(".")[:2])) < (5, 9):
        return f"Linux {platform.release()} is older than 5.9"
    return None


def _filter() -> _Program:
    """Notify of the calls of `NUMBERS`, allow all else."""
    numbers = list(NUMBERS[platform.machine()].values())
    count = len(numbers)
    rows = [
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 0, count + 1, _ARCHITECTURES[platform.machine()]),
        (0x20, 0, 0, 0),  # load the number
        *((0x15, count - place, 0, number) for place, number in enumerate(numbers)),
        (0x06, 0, 0, _ALLOW),
        (0x06, 0, 0, _NOTIFY),
    ]
    return _Program(len(rows), (_Instruction * len(rows))(*(_Instruction(*row) for row in rows)))


def _become_watched(channel: socket.socket, command: Sequence[str]) -> None:
    """Put this process under the filter, send the listener, and become `command`."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    number, program = _CALL[platform.machine()], _filter()
    listener = libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp refuses")
    socket.send_fds(channel, [b"x"], [listener])
    os.close(listener)
    channel.close()
    os.execv(command[0], command)


class Watched:
    """A command under the filter: `next()` gives its calls, `allow()` lets one go on."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path) -> None:
        mine, theirs = socket.socketpair()
        launcher = [sys.executable, str(Path(__file__)), str(theirs.fileno()), *command]
        with mine, theirs, log.open("ab") as output:
            self.process = subprocess.Popen(
                launcher, stdout=output, stderr=output, cwd=cwd, pass_fds=[theirs.fileno()]
            )
            theirs.close()
            _, fds, _, _ = socket.recv_fds(mine, 1, 1)
        if not fds:
            raise OSError(errno.ENOSYS, f"the filter was not accepted; see {log}")
        self.listener = fds[0]
        self._names = {number: name for name, number in NUMBERS[platform.machine()].items()}

    def next(self) -> Call | None:
        """Return the call that waits, None if its thread has died meanwhile."""
        buffer = bytearray(80)
        try:
            ioctl(self.listener, _RECV, buffer, True)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        cookie, thread, _, number = struct.unpack_from("QIIi", buffer)
        return Call(cookie, thread, self._names[number], struct.unpack_from("6Q", buffer, 32))

    def allow(self, call: Call) -> None:
        """Let the call happen."""
        try:
            ioctl(self.listener, _SEND, struct.pack("QqiI", call.cookie, 0, 0, _CONTINUE))
        except OSError as error:
            if error.errno != errno.ENOENT:  # it was killed
                raise

    def close(self) -> None:
        """Give the listener back; only once all processes have ended."""
        os.close(self.listener)


if __name__ == "__main__":
    _become_watched(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
