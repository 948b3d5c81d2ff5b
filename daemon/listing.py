"""A full walk over a source, under way: which rows it has met."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Listing:
    """One bit for each row, so that ten million rows take 1.25 MB."""

    source: str
    began_at: str
    _met: bytearray = field(default_factory=bytearray)

    def meet(self, file_ids: Iterable[int]) -> None:
        """Note rows that the walk has met."""
        for file_id in file_ids:
            byte = file_id >> 3
            if byte >= len(self._met):
                self._met.extend(bytes(byte + 1024 - len(self._met)))
            self._met[byte] |= 1 << (file_id & 7)

    def has_met(self, file_id: int) -> bool:
        """Tell whether the walk has met this row."""
        byte = file_id >> 3
        return byte < len(self._met) and bool(self._met[byte] >> (file_id & 7) & 1)
