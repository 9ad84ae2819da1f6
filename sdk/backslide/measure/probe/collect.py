"""Outputs of layers on all examples: a few layers at a time, in mini-batches."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backslide.measure.instruments.names import modules
from backslide.measure.instruments.tensors import first_floating, in_backward, local
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.layers import Layer
from backslide.record.calls import called, moved

FEATURES: Final = 2**16
"""Numbers an example of a layer; of more, means of neighbouring positions are taken."""

HELD: Final = 2**27
"""Numbers that are held at a time; layers beyond that get a forward pass of their own."""

IN_FLIGHT: Final = 2**25
"""Numbers that all layers of a mini-batch put out together, about."""

LARGEST_BATCH: Final = 128

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Outputs:
    """Of one layer, on the host.

    Attributes:
        layer: which.
        values: shape (examples, positions, channels).
        grid: rows and columns of the positions of an image; None for other layers.
    """

    layer: Layer
    values: Floats
    grid: tuple[int, int] | None


@dataclass(eq=False)
class _Store:
    """Outputs of one layer while they come in."""

    layer: Layer
    rows: int
    values: Tensor | None = None
    grid: tuple[int, int] | None = None
    places: int = 0
    filled: int = 0

    def take(self, output: Tensor) -> None:
        """Adds the output for the next examples."""
        field_, grid = positioned(output.detach(), self.layer)
        self.places = field_.shape[1]
        field_, self.grid = coarser(field_.float(), grid, FEATURES)
        if self.values is None:
            shape = (self.rows, *field_.shape[1:])
            self.values = torch.empty(shape, dtype=torch.float32, device="cpu")
        stop = self.filled + len(field_)
        self.values[self.filled : stop].copy_(field_)
        self.filled = stop


class _Stores:
    """Those of several layers, by module and number of the call."""

    def __init__(self, layers: Iterable[Layer], rows: int) -> None:
        self._each = {(layer.module, layer.number): _Store(layer, rows) for layer in layers}

    def take(self, name: str, number: int, output: object) -> None:
        """Adds an output if it is wanted."""
        store = self._each.get((name, number))
        tensor = None if store is None else first_floating(output)
        if store is not None and tensor is not None:
            store.take(tensor)

    def emptied(self) -> Iterator[_Store]:
        """Hands them out one after another, and keeps none."""
        while self._each:
            yield self._each.pop(next(iter(self._each)))


@dataclass(eq=False)
class Collected:
    """What came of a pass.

    Attributes:
        answers: the model's, by mini-batch; in the first pass only.
        problems: layers that were left out and why, one sentence each.
    """

    answers: list[Tensor] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def batches(rows: int, layers: Iterable[Layer]) -> list[tuple[int, int]]:
    """First and last example (excluded) of each mini-batch."""
    numbers = sum(layer.numbers for layer in layers)
    size = max(1, min(LARGEST_BATCH, IN_FLIGHT // max(1, numbers)))
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


class Ear(Protocol):
    """What hears outputs besides."""

    @property
    def modules(self) -> set[str]:
        """Names of the modules to listen to."""

    def take(self, name: str, number: int, output: object) -> None:
        """Hears the output of a module's call of that number."""


def collect(
    model: nn.Module,
    examples: Examples,
    layers: Sequence[Layer],
    device: torch.device,
    found: Collected,
    *,
    besides: Ear,
) -> Iterator[Outputs]:
    """Gives each layer's outputs in turn, and forgets them afterwards.

    Args:
        model: in evaluation mode.
        examples: what it is run on.
        layers: whose outputs are wanted.
        device: the model's.
        found: takes the answers and problems.
        besides: hears its modules' outputs in the first pass.
    """
    for number, some in enumerate(_shares(layers, examples.rows)):
        stores = _Stores(some, examples.rows)
        names = {layer.module for layer in some}
        with torch.no_grad():
            for start, stop in batches(examples.rows, layers):
                first = heard(model, besides.modules if number == 0 else set(), besides.take)
                with heard(model, names, stores.take), first:
                    answer = called(model, moved(examples.part(start, stop), device))
                if number == 0:
                    found.answers.append(answer)
        for store in stores.emptied():
            if store.values is None or store.filled != store.rows:
                found.problems.append(f"{store.layer.name} is left out: it did not run for all")
                continue
            if (positions := store.values.shape[1]) < store.places:
                found.problems.append(
                    f"{store.layer.name}: its {store.places:,} positions were averaged to "
                    f"{positions:,}"
                )
            yield Outputs(store.layer, store.values.numpy(), store.grid)


Take = Callable[[str, int, object], object]


@contextmanager
def heard(model: nn.Module, names: set[str], take: Take) -> Iterator[None]:
    """Hands the outputs of some modules to `take`, with the number of the call.

    What `take` returns, if not None, goes on in the output's place.
    """
    handles = []
    numbers: dict[str, int] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[object, ...], object], object]:
        def after(_module: nn.Module, _args: tuple[object, ...], output: object) -> object:
            if in_backward():
                return None
            numbers[name] = numbers.get(name, 0) + 1
            return take(name, numbers[name], output)

        return after

    try:
        for name, module, _ in modules(model):
            if name in names:
                handles.append(module.register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def positioned(output: Tensor, layer: Layer) -> tuple[Tensor, tuple[int, int] | None]:
    """An output as (examples, positions, channels), and the grid of positions of an image."""
    reading = layer.reading
    output = local(output)
    if output.is_complex():
        output = output.abs()
    if output.ndim == 1:
        return output.reshape(-1, 1, 1), None
    output = output.movedim((reading.batch, reading.channels), (0, -1))
    dims = output.shape[1:-1]
    grid = (int(dims[0]), int(dims[1])) if len(dims) == 2 and reading.times == 1 else None
    rows = len(output) // reading.times
    return output.reshape(rows, reading.times * math.prod(dims), output.shape[-1]), grid


def put_back(values: Tensor, output: Tensor, layer: Layer) -> Tensor:
    """The reverse of `positioned`: as the output lay."""
    if output.ndim == 1:
        return values.reshape(output.shape)
    reading = layer.reading
    shape = output.movedim((reading.batch, reading.channels), (0, -1)).shape
    return values.reshape(shape).movedim((0, -1), (reading.batch, reading.channels))


def coarser(
    values: Tensor, grid: tuple[int, int] | None, most: int
) -> tuple[Tensor, tuple[int, int] | None]:
    """Means of neighbouring positions, so that an example has at most so many numbers.

    Args:
        values: shape (examples, positions, channels).
        grid: of the positions, if they are an image.
        most: numbers an example; one position is left at least.
    """
    examples, positions, channels = values.shape
    if positions * channels <= most or positions == 1:
        return values, grid
    wanted = max(1, most // channels)
    if grid is None:
        flat = nn.functional.adaptive_avg_pool1d(values.mT, min(positions, wanted))
        return flat.mT, None
    share = math.sqrt(wanted / positions)
    rows, columns = (max(1, math.floor(side * share)) for side in grid)
    image = values.mT.reshape(examples, channels, *grid)
    pooled = nn.functional.adaptive_avg_pool2d(image, (rows, columns))
    return pooled.flatten(2).mT, (rows, columns)


def _shares(layers: Sequence[Layer], rows: int) -> Iterator[list[Layer]]:
    """Layers in groups that can be held together; one group at least."""
    some: list[Layer] = []
    held = 0
    for layer in layers:
        size = min(layer.numbers, FEATURES) * rows
        if some and held + size > HELD:
            yield some
            some, held = [], 0
        some.append(layer)
        held += size
    yield some
