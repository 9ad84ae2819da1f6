"""What a probe says that groups of channels add, against taking them out."""

from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from backslide.measure.probe import removal
from backslide.measure.probe.collect import heard, positioned
from backslide.measure.probe.groups import activities, joined
from backslide.measure.probe.layers import Layer
from backslide.measure.probe.probe import layers_of, probe


def agreement(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, tuple[float, ...]]:
    """By layer: correlation of attribution and true loss, over groups and over all cells.

    Of what a probe says, and of what it would say of a network too large to take groups out of.
    """
    found = probe(model, inputs, labels)
    with mock.patch.object(removal, "WORK", 0):
        plain = probe(model, inputs, labels).tables["groups"].to_pandas()
    groups = found.tables["groups"].to_pandas()
    signed = found.tables["layers"].to_pandas().set_index("layer").signed
    with torch.no_grad():
        whole = model(inputs)
    agreed = {}
    for layer in layers_of(model, inputs)[:-1]:  # of the answers themselves there is no doubt
        here = groups[groups.layer == layer.name]
        weights = np.stack(here.weights).astype(np.float32)
        losses = [
            (whole - without(model, inputs, layer, weights, group, signed=signed[layer.name]))
            for group in range(len(weights))
        ]
        true = torch.stack(losses)[:, range(len(labels)), labels].numpy()
        both = [np.stack(each.attribution) for each in (here, plain[plain.layer == layer.name])]
        lost = np.stack(
            [true[:, labels == label].mean(1) for label in range(both[0].shape[1])], 1
        )
        agreed[layer.name] = tuple(
            float(np.corrcoef(one, other)[0, 1])
            for said in both
            for one, other in (
                (said.mean(1), lost.mean(1)),
                (said.ravel(), lost.ravel()),
            )
        )
    return agreed


def without(
    model: nn.Module,
    inputs: Tensor,
    layer: Layer,
    weights: np.ndarray,
    group: int,
    *,
    signed: bool,
) -> Tensor:
    """The model's answers when a group is subtracted from a layer."""

    def take(_name: str, number: int, output: Tensor) -> Tensor | None:
        if number != layer.number:
            return None
        active = activities(positioned(output, layer)[0].numpy(), weights, signed=signed)
        part = active[..., group, None] * joined(weights, signed=signed)[group]
        moved = torch.from_numpy(part)
        return output - (moved.mT if output.ndim == 4 else moved).reshape(output.shape)

    with torch.no_grad(), heard(model, {layer.module}, take):
        return model(inputs)
