"""What the demonstration prints: sentences, commands, and pictures where the terminal can."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_COLUMNS = 18
_GAP = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and what is to be read under it, a line or two."""

    path: Path
    lines: Sequence[str]


class Teller:
    """Prints the story."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._steps = 0

    def step(self, title: str, text: str) -> None:
        """Begin another part."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {title}.[/bold] {text}")

    def say(self, text: str) -> None:
        """Print sentences."""
        self._console.print(text, markup=False)

    def command(self, text: str) -> None:
        """Print what a user would type."""
        self._console.print(f"$ {text}", style="cyan", markup=False, soft_wrap=True)

    def quote(self, text: str) -> None:
        """Print what was answered."""
        for line in text.splitlines():
            self._console.print(f"  {line}", markup=False, soft_wrap=True)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show on a terminal that something is being waited for."""
        return self._console.status(what)

    def pictures(self, pictures: Sequence[Picture]) -> None:
        """Show pictures side by side, or only what is to be read under them."""
        if self.shows_colours:
            many = max(1, (self._console.width + _GAP) // (_COLUMNS + _GAP))
            for start in range(0, len(pictures), many):
                self._row(pictures[start : start + many])
        else:
            for line in _aligned([picture.lines for picture in pictures]):
                self._console.print(f"  {line}", markup=False, soft_wrap=True)

    @property
    def shows_colours(self) -> bool:
        """Tell whether this is a terminal with all colours."""
        console = self._console
        return console.is_terminal and console.color_system == "truecolor" and not console.no_color

    def _row(self, pictures: Sequence[Picture]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, _GAP, 0, 0))
        for _ in pictures:
            table.add_column(width=_COLUMNS, no_wrap=True)
        table.add_row(*(thumbnail(picture.path) for picture in pictures))
        table.add_row(*(Text("\n".join(picture.lines)) for picture in pictures))
        self._console.print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def thumbnail(path: Path, columns: int = _COLUMNS) -> "Text":
    """Return a picture as characters, each the upper half of a cell over the lower: two pixels."""
    from PIL import Image
    from rich.style import Style
    from rich.text import Text

    with Image.open(path) as opened:
        image = opened.convert("RGB").resize((columns, columns), Image.Resampling.LANCZOS)
    pixels, stride = image.tobytes(), 3 * columns
    text = Text()
    for upper in range(0, columns * stride, 2 * stride):
        for at in range(upper, upper + stride, 3):
            colours = (f"#{pixels[at + down :][:3].hex()}" for down in (0, stride))
            text.append("▀", Style(color=next(colours), bgcolor=next(colours)))
        text.append("\n")
    text.rstrip()
    return text
