"""The labelled images of one training run, each on its side."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled content: SHA-256 (hex), where it lies, its class and its side.

    `also` are further classes of it, where an image may have several. `side` is `train` or
    `holdout`; `phash` are 16 hexadecimal digits; `taken_at` is the EXIF capture time, where there
    is one; `folder` is the folder of the file.
    """

    sha256: str
    path: Path
    label: str
    side: str
    phash: str
    taken_at: str | None
    folder: str
    also: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All its classes."""
        return (self.label, *self.also)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Classes in the order of the model's scores, and their images."""

    classes: tuple[str, ...]
    examples: tuple[Example, ...]

    def on(self, side: str) -> tuple[Example, ...]:
        """Return the examples on one side."""
        return tuple(example for example in self.examples if example.side == side)
