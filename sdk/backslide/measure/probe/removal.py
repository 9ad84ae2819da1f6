"""What answers truly lose when a group is taken out of a layer: on a few examples.

Gradient x activation is right to first order: exact behind the last rectifier, far off before a
saturated tanh or many blocks. In a network that is small enough this says by how much.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backslide.measure.batches.pieces import mapped
from backslide.measure.instruments.tensors import first_floating
from backslide.measure.probe.answers import of_class
from backslide.measure.probe.collect import IN_FLIGHT, heard, positioned, put_back
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.groups import Groups, activities, joined
from backslide.measure.probe.layers import Layer
from backslide.record.calls import called, moved

Floats = NDArray[np.float32]

WORK: Final = 8_000_000_000
"""Multiplications that all removals together may cost, about: half a second of one core."""

FEWEST: Final = 32
"""Examples below which no group is taken out at all."""

ROWS: Final = 256
"""Examples times groups in one forward pass at most."""


def affordable(work: int, groups: int, rows: int) -> int:
    """Examples on which every group can be taken out; 0 where that is too much work.

    Args:
        work: multiplications of a forward pass on one example.
        groups: of all layers together.
        rows: examples there are.
    """
    most = min(rows, WORK // max(1, work * groups))
    return most if most >= min(FEWEST, rows) else 0


def removals(
    model: nn.Module,
    examples: Examples,
    truth: NDArray[np.int64],
    rows: NDArray[np.intp],
    found: Mapping[Layer, tuple[Groups, bool]],
    *,
    device: torch.device,
) -> dict[Layer, Floats]:
    """What the answer for the true class loses without each group, shape (rows, groups).

    Args:
        model: in evaluation mode.
        examples: what it is run on.
        truth: class of each example.
        rows: the examples to look at.
        found: by layer its groups, and whether they are of positive and negative parts.
        device: the model's.

    Raises:
        ValueError: the answers are not one number for each class.
    """
    numbers = sum(layer.numbers for layer in found)
    size = max(1, min(ROWS, IN_FLIGHT // max(1, numbers)))

    def answers(some: NDArray[np.intp]) -> Floats:
        wanted = torch.as_tensor(truth[some], device=device)
        output = called(model, moved(examples.some(some), device))
        return np.asarray(of_class(output, wanted).float().cpu().numpy(), np.float32)

    lost = {}
    with torch.no_grad():
        whole = np.concatenate([answers(some) for some in _batches(rows, size)])
        for layer, (groups, signed) in found.items():
            count = len(groups.weights)
            without = []
            for some in _batches(rows, max(1, size // max(1, count))) if count else ():
                with heard(model, {layer.module}, _taken_out(layer, groups, signed=signed)):
                    without.append(answers(np.repeat(some, count)).reshape(-1, count))
            lost[layer] = whole[:, None] - (
                np.concatenate(without) if without else np.zeros((len(rows), 0), np.float32)
            )
    return lost


def _taken_out(
    layer: Layer, groups: Groups, *, signed: bool
) -> Callable[[str, int, object], object]:
    """Subtracts each group from one of as many copies of every example, which lie together."""

    def take(_name: str, number: int, output: object) -> object:
        tensor = first_floating(output)
        if number != layer.number or tensor is None or tensor.is_complex():
            return None
        values = positioned(tensor, layer)[0]
        count = len(groups.weights)
        active = activities(
            values[::count].float().cpu().numpy(), groups.weights, signed=signed
        )
        of_groups = active[..., None] * joined(groups.weights, signed=signed)
        part = torch.from_numpy(of_groups.swapaxes(1, 2).reshape(values.shape))
        left = put_back(values - part.to(values.device, values.dtype), tensor, layer)
        return mapped(output, lambda each: left if each is tensor else each)

    return take


def _batches(rows: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
