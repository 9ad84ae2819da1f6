"""What a training begins with: rows of weights that are all alike, and weights left out."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from backslide.measure.instruments.names import plain
from backslide.measure.instruments.parameters import units_of
from backslide.measure.instruments.tensors import local

LARGEST: Final = 2**24
"""Elements of a weight that is compared row by row."""


@dataclass(frozen=True, eq=False)
class _Left:
    """A parameter that has a gradient but is in no optimizer; how often it had changed."""

    name: str
    tensor: weakref.ref[Tensor]
    version: int


class Start:
    """Remembers what was seen of the parameters at the start.

    Attributes:
        alike: names of weights whose rows, one an output unit, were all equal.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module | None) -> None:
        """Reads the weights once, waiting for the device."""
        self.alike = [] if model is None else _alike(model)
        self._model = model
        self._left: list[_Left] | None = None

    def stepping(self, optimizers: Iterable[Optimizer]) -> None:
        """An optimizer is about to step: gradients are there. Only the first time counts."""
        if self._left is not None or self._model is None:
            return
        known = {
            id(tensor)
            for optimizer in optimizers
            for group in optimizer.param_groups
            for tensor in group["params"]
        }
        self._left = [
            _Left(plain(name), weakref.ref(tensor), tensor._version)  # noqa: SLF001  # counts changes in place
            for name, tensor in self._model.named_parameters()
            if tensor.requires_grad and tensor.grad is not None and id(tensor) not in known
        ]

    def idle(self) -> list[str]:
        """Names of parameters that have gradients, but that nothing has changed since.

        An optimizer that nobody told of would have changed them.
        """
        return [
            left.name
            for left in self._left or ()
            if (tensor := left.tensor()) is not None and tensor._version == left.version  # noqa: SLF001  # as above
        ]


def _alike(model: nn.Module) -> list[str]:
    """Names of weights with equal rows; one wait for each device in all."""
    names: dict[torch.device, list[str]] = {}
    found: dict[torch.device, list[Tensor]] = {}
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(path, recurse=False):
            units = units_of(module, tensor)
            weight = local(tensor.detach())
            if units is None or weight.is_meta or not 1 < weight.numel() <= LARGEST:
                continue
            rows = weight.movedim(units.axis, 0)
            if len(rows) > 1:
                rows = rows.reshape(len(rows), -1)
                names.setdefault(weight.device, []).append(plain(name))
                found.setdefault(weight.device, []).append((rows == rows[:1]).all())
    return [
        name
        for device, several in found.items()
        for name, same in zip(names[device], torch.stack(several).tolist(), strict=True)
        if same
    ]
