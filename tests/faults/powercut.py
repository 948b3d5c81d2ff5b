"""What a power cut leaves: what was synced, and nothing else.

The strictest reading of POSIX: a file's bytes last once the file was synced, a name once its
folder was. Real file systems keep more.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .gate import Action

_Key = tuple[int, int]


class Disk:
    """Follows the actions below `root` and can put back what would have outlasted a cut.

    What lies there at the beginning counts as synced. `skip` tells of what is none of the
    program's own: it stays as it is.
    """

    def __init__(self, root: Path, skip: Callable[[Path], bool]) -> None:
        self._root = root
        self._skip = skip
        self._generation: dict[int, int] = {}
        self._bytes: dict[_Key, bytes] = {}
        self._names: dict[_Key, dict[str, tuple[_Key, bool]]] = {}
        self._learn(root)

    def _learn(self, folder: Path) -> None:
        self._names[self._key(folder)] = self._listing(folder)
        for path in self._own(folder):
            if path.is_dir():
                self._learn(path)
            else:
                self._bytes[self._key(path)] = path.read_bytes()

    def _own(self, folder: Path) -> Iterator[Path]:
        return (path for path in folder.iterdir() if not self._skip(path))

    def _listing(self, folder: Path) -> dict[str, tuple[_Key, bool]]:
        return {path.name: (self._key(path), path.is_dir()) for path in self._own(folder)}

    def _key(self, path: Path) -> _Key:
        number = os.lstat(path).st_ino
        return number, self._generation.get(number, 0)

    def before(self, action: Action) -> None:
        """Take note of an action that is about to happen."""
        match action.kind:
            case "sync" if action.path.is_dir():
                self._names[self._key(action.path)] = self._listing(action.path)
            case "sync" if action.path.exists():
                self._bytes[self._key(action.path)] = action.path.read_bytes()
            case "unlink":
                self._ends(action.path)
            case "rename" if action.target is not None:
                self._ends(action.target)

    def _ends(self, path: Path) -> None:
        """The inode's number may be given to another file."""
        if path.exists() and (path.is_dir() or path.stat().st_nlink == 1):
            number = os.lstat(path).st_ino
            self._generation[number] = self._generation.get(number, 0) + 1

    def cut(self) -> None:
        """Leave below the root what was synced."""
        top = self._key(self._root)
        for path in list(self._own(self._root)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._restore(self._root, top)

    def _restore(self, folder: Path, key: _Key) -> None:
        for name, (inner, is_folder) in self._names.get(key, {}).items():
            if is_folder:
                (folder / name).mkdir()
                self._restore(folder / name, inner)
            else:
                (folder / name).write_bytes(self._bytes.get(inner, b""))
