"""The watched folder itself: is it there, is it still the same, can the kernel watch it."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

REMOTE = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|fuse\..*|9p|virtiofs|vboxsf|prl_fs|vmhgfs|afs|ceph|glusterfs|lustre"
    r"|beegfs|ncpfs|davfs|ocfs2|gfs2"
)
"""File systems that others change behind this kernel's back, so that inotify stays silent."""


class Root:
    """Tells a folder that is gone or unmounted from one that somebody emptied.

    `identity` is device and inode number of the folder as last found in order, `DEVICE:INODE`;
    one that is known from an earlier run makes an unmounted folder plain from the start.
    """

    def __init__(self, path: Path, identity: str | None = None) -> None:
        self.path = path
        self.identity = identity

    def __str__(self) -> str:
        return str(self.path)

    def create(self) -> None:
        """Make the folder if its parent is there; where that fails, `trouble` will tell."""
        with suppress(OSError):
            self.path.mkdir()

    def trouble(self) -> str | None:
        """Say what is wrong with the folder, or None; keeps its identity when all is well."""
        try:
            return self._wrong(self.path.stat())
        except OSError as error:
            return f"{self} is gone ({error.strerror}): create or mount it"

    def _wrong(self, status: os.stat_result) -> str | None:
        if not stat.S_ISDIR(status.st_mode):
            return f"{self} is gone: what is there now is no folder"
        if not os.access(self.path, os.R_OK | os.X_OK):
            return f"{self} cannot be read: grant this user the rights r and x on it"
        identity = f"{status.st_dev}:{status.st_ino}"
        if self.identity not in (None, identity) and self._is_empty():
            return f"{self} is gone, an empty folder is in its place: mount it, or put images in"
        self.identity = identity
        return None

    def _is_empty(self) -> bool:
        with os.scandir(self.path) as entries:
            return next(entries, None) is None


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that holds the path, such as `ext4`; or `unknown`."""
    real = os.fsencode(path.resolve())
    best, kind = b"", "unknown"
    for line in mounts.read_bytes().splitlines():
        point, found = _mount(line)
        if len(point) >= len(best) and (real + b"/").startswith(point.rstrip(b"/") + b"/"):
            best, kind = point, found
    return kind


def is_remote(kind: str) -> bool:
    """Tell whether changes on this type of file system may come from elsewhere."""
    return REMOTE.fullmatch(kind) is not None


def _mount(line: bytes) -> tuple[bytes, str]:
    """Read mount point (with its octal escapes undone) and type from a line of mountinfo."""
    left, _, right = line.partition(b" - ")
    point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), left.split(b" ")[4])
    return point, right.split(b" ")[0].decode()
