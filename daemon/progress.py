"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

_LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How much is done, of how much where that is known."""

    done: int
    total: int | None = None


Show = Callable[[Progress], None]


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
def stages(titles: Mapping[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function (stage, done, total) that shows one bar after the other."""
    with ExitStack() as stack:
        bars: dict[str, Show] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()
                bars[stage] = stack.enter_context(progress_bar(titles.get(stage, stage)))
            bars[stage](Progress(done, total))

        yield show
