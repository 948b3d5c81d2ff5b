"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TextIO

_LINE_EVERY_S = 10.0
_DRAWN = re.compile(r"\x1b\[[\d;]*m|\x08|.*\r")


@dataclass(frozen=True, slots=True)
class Progress:
    """How much is done, of how much where that is known."""

    done: int
    total: int | None = None


Show = Callable[[Progress], None]
Told = Callable[[str, int, int], None]
"""Is told of a stage, how much of it is done, and of how much."""


def untold(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
    """Give a function that shows progress on standard error."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda seen: bar.update(task, completed=seen.done, total=seen.total)


def _lines(title: str) -> Show:
    last = time.monotonic()

    def show(seen: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            of = f" of {seen.total}" if seen.total is not None else ""
            print(f"{title}: {seen.done}{of}", file=sys.stderr, flush=True)  # noqa: T201

    return show


@contextmanager
def stages(titles: Mapping[str, str]) -> Iterator[Told]:
    """Give a function (stage, done, total) that shows one bar after the other."""
    with ExitStack() as stack:
        bars: dict[str, Show] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()
                bars[stage] = stack.enter_context(progress_bar(titles.get(stage, stage)))
            bars[stage](Progress(done, total))

        yield show


@contextmanager
def borrowed_bar() -> Iterator[None]:
    """Show the bar that a library draws on standard output: on a terminal as it is, in a log as
    a plain line now and then. It goes to standard error, since results go to the other."""
    stream = sys.stderr if sys.stderr.isatty() else Seldom(sys.stderr, time.monotonic)
    with redirect_stdout(stream):
        yield


class Seldom(io.TextIOBase):
    """Takes what redraws one line over and over, and writes it plainly every ten seconds.

    Whole lines, such as the one that says what begins, are written at once.
    """

    def __init__(self, stream: TextIO, elapsed: Callable[[], float]) -> None:
        self._stream = stream
        self._elapsed = elapsed
        self._last = elapsed()

    def write(self, text: str) -> int:
        """Take a piece of text."""
        line = _DRAWN.sub("", text).strip()
        is_whole = "\r" not in text
        if line and (is_whole or self._elapsed() - self._last >= _LINE_EVERY_S):
            self._last = self._elapsed()
            self._stream.write(f"{line}\n")
            self._stream.flush()
        return len(text)
