"""Runs a piece of work again and again in children, each killed one line later than the last.

`python killing.py WORK FOLDER MODE` prints how many lines were cut at. For each child `prepare`
makes a folder anew; after the kill `judge` looks at what is left, goes on and looks again.
"""

import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

import plugins.sinks
from daemon.testing import make_event
from plugins.sinks._journal import Journal
from plugins.sinks._undoing import undo
from plugins.sinks.sort import SortOptions, SortSink

CODE = str(Path(plugins.sinks.__file__).parent)
CONTENT = b"woof" * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"another dog"


class Case:
    """One folder with an image, a sorted folder where its name is taken, and what is done."""

    def __init__(self, folder: Path, mode: str, links: bool) -> None:
        self.folder = folder
        self.image = folder / "in" / "rex.jpg"
        self.sorted = folder / "sorted"
        self.mode = mode
        if not links:
            os.link = refuse_links

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.image.parent.mkdir(parents=True)
        self.image.write_bytes(CONTENT)
        (self.sorted / "dog").mkdir(parents=True)
        (self.sorted / "dog" / "rex.jpg").write_bytes(OTHER)

    def file(self) -> None:
        sink = SortSink(SortOptions(folder=self.sorted, mode=self.mode))
        sink.publish(make_event(1, self.image, sha256=SHA256))
        sink.close()

    def undo(self) -> None:
        journal = Journal(self.sorted)
        for entry in journal.entries():
            undo(journal, self.sorted, entry)
        journal.close()

    def check_nothing_lost(self) -> None:
        seen = self.seen()
        assert CONTENT in seen.values(), "lost"
        assert seen["sorted/dog/rex.jpg"] == OTHER, "written over"
        # Without links, a name may be taken for a moment with an empty file.
        assert set(seen.values()) <= {CONTENT, OTHER, b""}, "half a file"

    def check_filed(self) -> None:
        source = {} if self.mode == "move" else {"in/rex.jpg": CONTENT}
        target = {"sorted/dog/rex.jpg": OTHER, "sorted/dog/rex-2.jpg": CONTENT}
        assert self.seen() == source | target, sorted(self.seen())
        assert self.hidden() == [], "a temporary file is left"

    def check_undone(self) -> None:
        assert self.seen() == {"in/rex.jpg": CONTENT, "sorted/dog/rex.jpg": OTHER}
        assert self.hidden() == [], "a temporary file is left"

    def seen(self) -> dict[str, bytes]:
        files = [path for path in self.folder.rglob("[!.]*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def hidden(self) -> list[str]:
        return [path.name for path in self.folder.rglob(".*.part")]


def refuse_links(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def killed_at(line: int, work: object) -> bool:
    """Do the work in a child that kills itself at a line; tells whether it got so far."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: object, event: str, _: object) -> object:
            nonlocal left
            if not frame.f_code.co_filename.startswith(CODE):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"line {line}: the work failed"
    return status == signal.SIGKILL


def main(work: str, folder: str, mode: str, links: str) -> None:
    """Cut the work at each of its lines."""
    case = Case(Path(folder), mode, links == "links")
    line, is_killed = 0, True
    while is_killed:
        line += 1
        case.prepare()
        if work == "undo":
            case.file()
        is_killed = killed_at(line, getattr(case, work))
        case.check_nothing_lost()
        for _ in range(2):
            getattr(case, work)()
            getattr(case, "check_filed" if work == "file" else "check_undone")()
    sys.stdout.write(f"{line - 1}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
