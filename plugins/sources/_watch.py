"""inotify through watchdog's reader: kernel events become hints, losses are noticed.

watchdog's observer is left aside. It holds renames back to pair them, so that bursts overflow the
kernel's queue; folders renamed in quick succession mix up its table of watches until its threads
die or hang; and a folder the kernel grants no watch for is passed over in silence. A hint needs
no pairing, only a path, so a table of folders is all there is here.
"""

import errno
import os
import threading
from collections.abc import Callable

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from plugins.sources._hints import Hint, Hints
from plugins.sources._walk import Tree

MASK = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_ONLYDIR
)
"""Every write would be the bulk of all events; closing the file is the one that counts."""


class InotifyWatch:
    """A running watch of all folders of a tree that a walk would enter.

    Raises `OSError` when the kernel refuses: ENOSPC and EMFILE mean its limits. Later refusals
    and the root's end show as a loss in `hints`. `halted` is asked whether to give up.
    """

    def __init__(self, tree: Tree, hints: Hints, halted: Callable[[], bool]) -> None:
        self._tree = tree
        self._hints = hints
        self._halted = halted
        self._folders: dict[WatchDescriptor, tuple[bytes, CallbackId]] = {}
        self._granted = 0
        self._lock = threading.Lock()
        self._kernel = InotifyFD()
        self._kernel.start()
        try:
            self._cover(tree.root)
        except OSError:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Tell whether events are still being read."""
        return self._kernel.is_alive()

    def close(self) -> None:
        """End the reading and give all watches back."""
        self._kernel.stop()
        self._kernel.join()

    def on_event(self, event: InotifyEvent) -> None:
        """Take an event from the reader's thread."""
        with self._lock:
            folder, _ = self._folders.get(event.wd, (None, None))
        if folder is None or not event.name:
            return
        path = os.path.join(folder, event.name)  # noqa: PTH118 (bytes)
        if event.is_directory:
            self._on_folder(event, path)
        else:
            whole = event.is_close_write or event.is_moved_to
            self._hints.add(path, Hint.WHOLE if whole else Hint.LOOK)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a folder that was deleted or unmounted."""
        with self._lock:
            folder, _ = self._folders.pop(wd, (None, None))
        if folder == self._tree.root:
            self._hints.lose()

    def on_queue_overflow(self) -> None:
        """Note that the kernel dropped events."""
        self._hints.lose()

    def _on_folder(self, event: InotifyEvent, path: bytes) -> None:
        if not self._tree.enters(path):
            return
        if event.is_moved_from:
            self._hints.lose()  # nobody says what was in it
        elif event.is_create or event.is_moved_to:
            try:
                self._cover(path)
            except OSError:
                self._hints.lose()
            # After the watches: what comes meanwhile is seen twice, not never.
            self._hints.add(path, Hint.WHOLE_FOLDER if event.is_moved_to else Hint.FOLDER)

    def _cover(self, top: bytes) -> None:
        """Watch a folder and all inside; those that vanish meanwhile need no watch."""
        folders = [top]
        while folders and not self._halted():
            folder = folders.pop()
            try:
                self._watch(folder)
            except (FileNotFoundError, NotADirectoryError):
                if folder == self._tree.root:
                    raise
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                # Nothing in it can be opened either, and the listing tells of it: no reason to
                # give up the watches on all other folders.
            else:
                folders += self._inside(folder)

    def _watch(self, folder: bytes) -> None:
        """Ask the kernel; a folder watched already under another name goes by this one now."""
        is_root = folder == self._tree.root
        mask = MASK if is_root else Mask(MASK | InotifyConstants.IN_DONT_FOLLOW)
        with self._lock:
            self._granted += 1
            mine = CallbackId(self._granted)
            wd = self._kernel.add_callback(folder, mask, self, mine)
            if wd in self._folders:
                self._kernel.remove_callbacks([(wd, self._folders[wd][1])])
            self._folders[wd] = folder, mine

    def _inside(self, folder: bytes) -> list[bytes]:
        if not self._tree.recursive:
            return []
        try:
            with os.scandir(folder) as entries:
                inside = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # the listing tells of folders that cannot be read
        return list(filter(self._tree.enters, inside))
