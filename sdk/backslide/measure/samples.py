"""Copies of samples, one after the other in memory that stays.

A hook that kept memory of its own would take it out of the pieces that the network's outputs
come and go in: those no longer fit where they did, and thousands of fresh pages, this step and
the next, cost as much as all that is measured.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from backslide.measure.spare import Spare

FIRST: Final = 2**16
"""Elements to begin with."""


class Samples:
    """A growing row of float32 on the host.

    Args:
        spare: where the memory comes from.

    Attributes:
        count: elements so far.
    """

    def __init__(self, spare: Spare) -> None:
        """Holds nothing yet."""
        self.count = 0
        self._spare = spare
        self._memory: Tensor | None = None

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Copies flat tensors of floating types to the end."""
        start = self.count
        for tensor in tensors:
            self.count += tensor.numel()
        place = self._room(start)[start : self.count]
        if len(tensors) == 1:
            place.copy_(tensors[0])
        else:
            torch.cat(tuple(tensors), out=place)

    def take(self) -> tuple[Tensor, Tensor]:
        """All of them, and the memory they lie in, for `Spare.give`; holds nothing any more."""
        memory, count = self._room(0), self.count
        self._memory, self.count = None, 0
        return memory[:count], memory

    def _room(self, kept: int) -> Tensor:
        """Memory for `count` elements, of which the first `kept` are there."""
        memory = self._memory
        if memory is None:
            memory = self._memory = self._spare.take_any(max(FIRST, self.count))
        if memory.numel() < self.count:
            larger = self._spare.take_any(2 * self.count)
            larger[:kept] = memory[:kept]
            self._spare.give(memory)
            memory = self._memory = larger
        return memory
