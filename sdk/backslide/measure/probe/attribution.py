"""How much each group of a layer speaks for each class: what the answer would lose without it.

Gradient x activation, from one backward pass, which is right to first order; in networks where
that is cheap, corrected by what is truly lost on a few examples.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backslide.measure.batches.pieces import mapped
from backslide.measure.instruments.tensors import first_floating
from backslide.measure.probe.answers import of_class
from backslide.measure.probe.collect import batches, heard, positioned
from backslide.measure.probe.concepts import Concepts
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.groups import Groups, activities, joined
from backslide.measure.probe.layers import Layer
from backslide.measure.probe.removal import affordable, removals
from backslide.record.calls import called, moved

Floats = NDArray[np.float32]

LARGE: Final = 4_000_000
"""Parameters from which on a network is large: a backward pass takes twice a forward one."""

FEW: Final = 128
"""Examples of a large network that are followed back, as many of each class; else all are."""


def attributions(
    model: nn.Module,
    examples: Examples,
    concepts: Concepts,
    found: Mapping[Layer, tuple[Groups, bool]],
    *,
    work: int,
    device: torch.device,
) -> dict[Layer, Floats]:
    """What each group adds to the answer for the true class, shape (groups, classes).

    The mean over the class's examples, in units of the model's answers.

    Args:
        model: in evaluation mode.
        examples: what it is run on.
        concepts: with the classes.
        found: by layer its groups, and whether they are of positive and negative parts.
        work: multiplications of a forward pass on one example.
        device: the model's.

    Raises:
        ValueError: the answers are not one number for each class, or somebody else listens to
            gradients.
    """
    if any(each._backward_hooks or each._backward_pre_hooks for each in model.modules()):  # noqa: SLF001  # there is no public way
        raise ValueError("modules have backward hooks, which would take this for training")
    targets = concepts.targets
    if targets is None or targets.dtype.kind not in "biuf":
        raise ValueError("targets are no numbers of outputs")
    large = sum(each.numel() for each in model.parameters()) > LARGE
    classes = len(concepts.classes)
    rows = _few(concepts.labels, classes, FEW if large else examples.rows)
    truth = targets.astype(np.int64)
    first = _first_order(model, examples, truth, rows, found, device=device)
    added = {
        layer: _means(parts, concepts.labels[rows], classes) for layer, parts in first.items()
    }
    number = sum(len(groups.weights) for groups, _ in found.values())
    most = affordable(work, number, len(rows))
    if most == 0:
        return added
    known = np.isin(rows, _few(concepts.labels, classes, most))
    lost = removals(model, examples, truth, rows[known], found, device=device)
    missed = {layer: lost[layer] - parts[known] for layer, parts in first.items()}
    labels = concepts.labels[rows[known]]
    return {
        layer: each + _means(missed[layer], labels, classes) for layer, each in added.items()
    }


def _means(parts: Floats, labels: NDArray[np.int64], classes: int) -> Floats:
    """Of the examples of each class, shape (groups, classes); zero for one without examples."""
    sums = np.zeros((classes, parts.shape[1]), np.float32)
    np.add.at(sums, labels, parts)
    counts = np.bincount(labels, minlength=classes)
    return np.asarray((sums / np.maximum(counts, 1)[:, None]).T, np.float32)


def _first_order(
    model: nn.Module,
    examples: Examples,
    truth: NDArray[np.int64],
    rows: NDArray[np.intp],
    found: Mapping[Layer, tuple[Groups, bool]],
    *,
    device: torch.device,
) -> dict[Layer, Floats]:
    """Gradient x activation of each group on each of some examples, shape (rows, groups)."""
    parts = {
        layer: np.zeros((len(rows), len(groups.weights)), np.float32)
        for layer, (groups, _) in found.items()
    }
    for start, stop in batches(len(rows), found):
        some = rows[start:stop]
        wanted = torch.as_tensor(truth[some], device=device)
        slopes = _slopes(model, moved(examples.some(some), device), wanted, list(found))
        for layer, (output, slope) in slopes.items():
            groups, signed = found[layer]
            values = positioned(output, layer)[0].float().cpu().numpy()
            active = activities(values, groups.weights, signed=signed)
            along = positioned(slope, layer)[0].float().cpu().numpy()
            along = along @ joined(groups.weights, signed=signed).T
            parts[layer][start:stop] = (active * along).sum(1)
    return parts


def _slopes(
    model: nn.Module, inputs: object, truth: Tensor, layers: Sequence[Layer]
) -> dict[Layer, tuple[Tensor, Tensor]]:
    """Outputs of layers and the gradients by them of the answers for the true classes."""
    wanted = {(layer.module, layer.number): layer for layer in layers}
    outputs: dict[Layer, Tensor] = {}

    def take(name: str, number: int, output: object) -> object:
        layer = wanted.get((name, number))
        tensor = None if layer is None else first_floating(output)
        if layer is None or tensor is None:
            return None
        anchor = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        outputs[layer] = anchor
        # The model goes on with a copy: what it changes in place is not what came out here.
        copy = anchor.clone()
        return mapped(output, lambda each: copy if each is tensor else each)

    names = {layer.module for layer in layers}
    # Recurrent layers of cuDNN have no backward pass in evaluation mode.
    plainly = torch.backends.cudnn.flags(enabled=False) if _recurrent(model) else nullcontext()
    with torch.enable_grad(), heard(model, names, take), plainly:
        answers = called(model, inputs)
        chosen = of_class(answers, truth)
        gradients = torch.autograd.grad(
            chosen.sum(), list(outputs.values()), allow_unused=True, materialize_grads=True
        )
    pairs = zip(outputs.items(), gradients, strict=True)
    return {layer: (output.detach(), slope) for (layer, output), slope in pairs}


def _few(labels: NDArray[np.int64], classes: int, most: int) -> NDArray[np.intp]:
    """Examples with a class: all, or the first ones of each where they are more than `most`."""
    known = np.flatnonzero(labels >= 0)
    if len(known) <= most:
        return known
    each = max(1, most // classes)
    return np.sort(
        np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(classes)])
    )


def _recurrent(model: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in model.modules())
