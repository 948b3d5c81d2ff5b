"""A gate before every durable action of a process and its children, in one order.

An action waits at the gate until it was looked at, so that "before the k-th action" is exact:
nothing is traced after the fact, and nothing in the product knows of it.
"""

import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .seccomp import Call, Watched

KINDS = {
    "write": "write", "pwrite64": "write", "sendfile": "write", "ftruncate": "truncate",
    "fsync": "sync", "fdatasync": "sync", "rename": "rename", "renameat": "rename",
    "renameat2": "rename", "link": "link", "linkat": "link", "unlink": "unlink",
    "unlinkat": "unlink", "rmdir": "unlink", "mkdir": "mkdir", "mkdirat": "mkdir",
}  # fmt: skip
_PATH_MAX = 4096
_AT_FDCWD = 0xFFFFFF9C


@dataclass(frozen=True, slots=True)
class Action:
    """Something that is about to change what lies on disk; `is_point`: a kill here differs from
    a kill at the action before (further writes into a file not synced yet do not)."""

    kind: str
    path: Path
    target: Path | None
    process: int
    is_point: bool


class Gate:
    """Lets the durable actions below `root` pass one at a time, past `look`.

    `skip` tells of paths that are nobody's promise (logs, shared memory of SQLite).
    """

    def __init__(
        self, root: Path, look: Callable[[Action], None], skip: Callable[[Path], bool]
    ) -> None:
        self._root = root
        self._look = look
        self._skip = skip
        self._dirty: set[Path] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def run(self, command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a command behind the gate."""
        watched = Watched(command, log, self._root)
        thread = threading.Thread(target=self._serve, args=(watched,), daemon=True)
        thread.start()
        self._threads.append(thread)
        return watched.process

    def join(self, deadline_s: float = 30.0) -> None:
        """Wait until all processes behind the gate, children too, have ended."""
        for thread in self._threads:
            thread.join(deadline_s)
        if self.errors:
            raise self.errors[0]

    def _serve(self, watched: Watched) -> None:
        poll = select.poll()
        poll.register(watched.listener, select.POLLIN)
        while True:
            ((_, events),) = poll.poll() or ((0, 0),)
            if not events & select.POLLIN:
                break
            call = watched.next()
            if call is not None:
                self._meet(call)
                watched.allow(call)
        watched.close()

    def _meet(self, call: Call) -> None:
        with self._lock:
            try:
                if (action := self._action(call)) is not None:
                    self._look(action)
            except (FileNotFoundError, ProcessLookupError):
                pass  # the process was killed while it waited
            except BaseException as error:
                self.errors.append(error)

    def _action(self, call: Call) -> Action | None:
        kind = KINDS[call.name]
        paths = _paths(call)
        path = paths[0]
        if not path.is_relative_to(self._root) or path.name.endswith(" (deleted)"):
            return None
        if self._skip(path):
            return None
        is_point = not (kind == "write" and path in self._dirty)
        if kind == "write":
            self._dirty.add(path)
        elif kind == "sync":
            self._dirty.discard(path)
        target = paths[1] if len(paths) > 1 else None
        return Action(kind, path, target, _process_of(call.thread), is_point)


def kill(process: int) -> None:
    """End a process at once, whatever it is doing."""
    os.kill(process, signal.SIGKILL)


def _paths(call: Call) -> list[Path]:
    thread, given = call.thread, call.arguments
    match call.name:
        case "write" | "pwrite64" | "sendfile" | "fsync" | "fdatasync" | "ftruncate":
            return [Path(f"/proc/{thread}/fd/{given[0]}").readlink()]
        case "rename" | "link":
            return [_named(thread, _AT_FDCWD, given[0]), _named(thread, _AT_FDCWD, given[1])]
        case "renameat" | "renameat2" | "linkat":
            return [_named(thread, given[0], given[1]), _named(thread, given[2], given[3])]
        case "unlinkat" | "mkdirat":
            return [_named(thread, given[0], given[1])]
    return [_named(thread, _AT_FDCWD, given[0])]


def _named(thread: int, folder: int, address: int) -> Path:
    """Read a path out of a thread's memory; a relative one counts from its folder."""
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        memory.seek(address)
        name = b""
        while b"\0" not in name and len(name) < _PATH_MAX:
            name += memory.read(min(256, 4096 - (address + len(name)) % 4096))
    relative = os.fsdecode(name.partition(b"\0")[0])
    is_here = folder & 0xFFFFFFFF == _AT_FDCWD
    base = f"/proc/{thread}/cwd" if is_here else f"/proc/{thread}/fd/{folder & 0xFFFFFFFF}"
    return Path(os.path.normpath(Path(base).readlink() / relative))


def _process_of(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text("utf-8", "replace")
    return int(status.partition("Tgid:")[2].split()[0])
