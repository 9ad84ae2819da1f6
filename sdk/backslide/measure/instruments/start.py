"""What a training begins with: weights alike or drawn at random, and weights left out."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from backslide.measure.graph.operations import MOST
from backslide.measure.instruments.names import plain
from backslide.measure.instruments.parameters import units_of
from backslide.measure.instruments.tensors import local

LARGEST: Final = 2**24
"""Elements of a weight that is looked at."""

FEW: Final = 200
"""Elements below which nobody can tell how they were drawn."""

UNIFORM: Final = 3**0.5
"""Largest over typical size of numbers drawn evenly around zero: torch's usual start."""


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
        drawn: names of weights spread as evenly as a random start leaves them; training adds
            tails.
        dropping: names of dropout modules that drop nearly everything.
        shrink: largest share of itself that decay takes from a weight in the first step; 0.0
            where it goes through adapted gradients, as in Adam.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module | None) -> None:
        """Reads the weights once, waiting for the device."""
        self.alike, self.drawn = ([], []) if model is None else _looks(model)
        self.dropping = [] if model is None else _dropping(model)
        self.shrink = 0.0
        self._model = model
        self._left: dict[str, _Left] = {}
        self._looks = 0

    def stepping(self, optimizers: Iterable[Optimizer]) -> None:
        """An optimizer is about to step: its part of the model has gradients.

        Networks that compete get theirs one after the other, so a first step of each counts.
        """
        optimizers = list(optimizers)
        if self._model is None or self._looks >= len(optimizers):
            return
        if not self._looks:
            self.shrink = max(map(_shrink, optimizers), default=0.0)
        self._looks += 1
        known = {
            id(tensor)
            for optimizer in optimizers
            for group in optimizer.param_groups
            for tensor in group["params"]
        }
        for name, tensor in self._model.named_parameters():
            if tensor.requires_grad and tensor.grad is not None and id(tensor) not in known:
                left = _Left(plain(name), weakref.ref(tensor), tensor._version)  # noqa: SLF001  # counts changes in place
                self._left.setdefault(name, left)

    def idle(self) -> list[str]:
        """Names of parameters that have gradients, but that nothing has changed since.

        An optimizer that nobody told of would have changed them.
        """
        return [
            left.name
            for left in self._left.values()
            if (tensor := left.tensor()) is not None and tensor._version == left.version  # noqa: SLF001  # as above
        ]

    def to_dict(self, dropping: Iterable[str] = ()) -> dict[str, object]:
        """What `backslide/graph.json` holds of the start.

        Args:
            dropping: dropouts that were met when the model ran, functions among them.
        """
        return {
            "alike": self.alike,
            "drawn": self.drawn,
            "dropping": list(dict.fromkeys([*self.dropping, *dropping])),
            "idle": self.idle(),
            "shrink": self.shrink,
        }


def _dropping(model: nn.Module) -> list[str]:
    return [
        plain(name)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > MOST  # noqa: SLF001  # the one base of all kinds
    ]


def _shrink(optimizer: Optimizer) -> float:
    """Largest share of a weight that decay takes in a step; 0.0 where it acts otherwise."""
    shares = [0.0]
    for group in optimizer.param_groups:
        plainly = isinstance(optimizer, (SGD, AdamW)) or group.get("decoupled_weight_decay")
        rate, decay = group.get("lr"), group.get("weight_decay")
        if plainly and isinstance(rate, float) and isinstance(decay, int | float):
            shares.append(rate * decay)
    return max(shares)


def _looks(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of weights with equal rows, and of those drawn evenly; one wait for each device."""
    names: dict[torch.device, list[tuple[str, int]]] = {}
    found: dict[torch.device, list[Tensor]] = {}
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(path, recurse=False):
            units = units_of(module, tensor)
            weight = local(tensor.detach())
            if units is None or weight.is_meta or not 1 < weight.numel() <= LARGEST:
                continue
            rows = weight.movedim(units.axis, 0)
            same = (rows == rows[:1]).all() if len(rows) > 1 else rows.new_zeros(())
            largest, typical = weight.abs().max(), weight.float().square().mean().sqrt()
            names.setdefault(weight.device, []).append((plain(name), weight.numel()))
            found.setdefault(weight.device, []).append(
                torch.stack([same.float(), largest.float() / typical])
            )
    alike, drawn = [], []
    for device, several in found.items():
        for (name, count), (same, ratio) in zip(
            names[device], torch.stack(several).tolist(), strict=True
        ):
            if same:
                alike.append(name)
            if count >= FEW and abs(ratio / UNIFORM - 1.0) < 0.02 + 1.5 / count**0.5:
                drawn.append(name)
    return alike, drawn
