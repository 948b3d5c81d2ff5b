"""Whether one model is better or worse than another on the same images, beyond noise."""

from dataclasses import dataclass
from math import comb, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same images: how many both saw, and how many each got right.

    `gained` are right with the first and wrong with the second, `lost` the other way round.
    """

    images: int
    right: int
    other_right: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """How much larger a share of the images the first model gets right, -1 to 1."""
        return (self.gained - self.lost) / self.images

    @property
    def standard_error(self) -> float:
        """The standard error that `difference` has where both models are as good."""
        return sqrt(self.gained + self.lost) / self.images

    @property
    def p_worse(self) -> float:
        """How likely so many losses are where the first model is as good as the other.

        Exact one-sided McNemar test ("Note on the sampling error of the difference between
        correlated proportions or percentages", 1947): the sign test on the images that only
        one of the two gets right.
        """
        return _tail(self.lost, self.gained + self.lost)

    @property
    def p_better(self) -> float:
        """How likely so many gains are where the first model is as good as the other."""
        return _tail(self.gained, self.gained + self.lost)


def paired(right: "NDArray[np.bool_]", other: "NDArray[np.bool_]") -> Paired:
    """Compare what two models get right, `bool[N]` each, image by image."""
    return Paired(
        len(right),
        int(right.sum()),
        int(other.sum()),
        int((right & ~other).sum()),
        int((~right & other).sum()),
    )


def _tail(count: int, of: int) -> float:
    """Return the chance of `count` or more heads in `of` tosses of a fair coin."""
    ways = total = comb(of, count)  # exact: whole numbers of any size
    for heads in range(count, of):
        ways = ways * (of - heads) // (heads + 1)
        total += ways
    return float(total / 2**of)
