"""Memory on the host that stays allocated from one snapshot to the next."""

from typing import Final

import torch
from torch import Tensor

PIECES: Final = 4
LARGEST: Final = 2**22
"""Elements of a piece that stays (16 MiB): a guest does not hold on to more."""


class Spare:
    """Pieces of memory to work in: fresh pages cost more than what is done in them."""

    def __init__(self) -> None:
        """Has none yet."""
        self._free: list[Tensor] = []

    def take(self, size: int) -> Tensor:
        """A piece that nobody else has: `size` elements of float32 with any values."""
        for place, piece in enumerate(self._free):
            if piece.numel() == size:
                return self._free.pop(place)
        return torch.empty(size)

    def take_any(self, size: int) -> Tensor:
        """The largest piece, if that has `size` elements, or a new one."""
        largest = max(self._free, key=len, default=None)
        if largest is None or len(largest) < size:
            return torch.empty(size)
        place = next(at for at, piece in enumerate(self._free) if piece is largest)
        return self._free.pop(place)

    def give(self, *pieces: Tensor) -> None:
        """Takes back what nobody uses any more."""
        self._free += [piece for piece in pieces if piece.numel() <= LARGEST]
        del self._free[:-PIECES]
