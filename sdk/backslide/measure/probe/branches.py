"""Channels inside the blocks that sequences run through: their signatures alone.

The stream hides a branch that was reset: it adds little, and little of it is missed. Its own
channels tell.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backslide.measure.instruments.tensors import first_floating
from backslide.measure.probe.collect import positioned
from backslide.measure.probe.layers import Layer
from backslide.measure.probe.signatures import Signatures, of_places, places

Floats = NDArray[np.float32]


@dataclass(eq=False)
class _Branch:
    """One module's outputs at the places of signatures, while they come in."""

    layer: Layer
    rows: int
    filled: int = 0
    taken: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)

    def take(self, output: Tensor) -> None:
        """Keeps what is wanted of the output for the next examples."""
        values = positioned(output.detach(), self.layer)[0].float()
        examples, positions, channels = values.shape
        flat = values.reshape(-1, channels)
        wanted = places(self.rows, positions) - self.filled * positions
        wanted = wanted[(wanted >= 0) & (wanted < len(flat))]
        self.taken.append(flat[wanted].cpu().numpy())
        self.low.append(flat.amin(0).cpu().numpy())
        self.high.append(flat.amax(0).cpu().numpy())
        self.filled += examples

    def signatures(self) -> Signatures | None:
        """None unless it ran for all examples, with finite outputs."""
        if self.filled != self.rows:
            return None
        low, high = np.min(self.low, 0), np.max(self.high, 0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return None
        return of_places(np.concatenate(self.taken), low, high)


class Branches:
    """Those of several modules, by module and number of the call."""

    def __init__(self, layers: Iterable[Layer], rows: int) -> None:
        """Starts without outputs; `rows` examples are to come."""
        self._each = {(layer.module, layer.number): _Branch(layer, rows) for layer in layers}

    @property
    def modules(self) -> set[str]:
        """Their names."""
        return {module for module, _ in self._each}

    def take(self, name: str, number: int, output: object) -> None:
        """Keeps of an output what is wanted."""
        branch = self._each.get((name, number))
        tensor = None if branch is None else first_floating(output)
        if branch is not None and tensor is not None:
            branch.take(tensor)

    def signatures(self) -> Iterator[tuple[Layer, Signatures]]:
        """Of all whose outputs came and are finite, in the order in which they ran."""
        for branch in self._each.values():
            if (found := branch.signatures()) is not None:
                yield branch.layer, found
