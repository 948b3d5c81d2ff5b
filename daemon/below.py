"""Opening what lies below a folder without leaving it: no symbolic link on the way is followed.

A folder that was real when it was looked at may have become a link to anywhere since.
"""

import contextlib
import os
from collections.abc import Iterator

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def folder_of(path: bytes, root: bytes) -> Iterator[tuple[int, bytes]]:
    """Hold the folder that a path below `root` lies in; yields its descriptor and the name in it.

    `root` itself may be, or lead through, a link: whoever configured it meant that. Raises
    `NotADirectoryError` where a link, or anything else, stands where a folder was.
    """
    *folders, name = path[len(root) :].lstrip(b"/").split(b"/")
    at = os.open(root, _FOLDER)
    try:
        for folder in folders:
            above, at = at, os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(above)
        yield at, name
    finally:
        os.close(at)


def root_of(path: bytes, roots: tuple[bytes, ...]) -> bytes | None:
    """Return the innermost of some folders that a path lies below, if any."""
    around = [root for root in roots if path.startswith(root.rstrip(b"/") + b"/")]
    return max(around, key=len, default=None)
