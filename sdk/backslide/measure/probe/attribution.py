"""How much each group of a layer speaks for each class: gradient x activation, one backward.

To first order, what an answer would lose without the group: close to the truth where few
rectifiers follow, far from it before a saturated tanh or many blocks (benchmarks/probe.md).
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
from backslide.measure.probe.collect import batches, heard, positioned
from backslide.measure.probe.concepts import Concepts
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.groups import Groups, activities, joined
from backslide.measure.probe.layers import Layer
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
    device: torch.device,
) -> dict[Layer, Floats]:
    """What each group adds to the answer for the true class, shape (groups, classes).

    The mean over the class's examples, in units of the model's answers.

    Args:
        model: in evaluation mode.
        examples: what it is run on.
        concepts: with the classes.
        found: by layer its groups, and whether they are of positive and negative parts.
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
    rows = _few(concepts.labels, len(concepts.classes), FEW if large else examples.rows)
    sums = {
        layer: np.zeros((len(groups.weights), len(concepts.classes)), np.float32)
        for layer, (groups, _) in found.items()
    }
    counts = np.bincount(concepts.labels[rows], minlength=len(concepts.classes))
    for start, stop in batches(len(rows), found):
        some = rows[start:stop]
        truth = torch.as_tensor(targets[some].astype(np.int64), device=device)
        slopes = _slopes(model, moved(examples.some(some), device), truth, list(found))
        for layer, (output, slope) in slopes.items():
            groups, signed = found[layer]
            values = positioned(output, layer)[0].float().cpu().numpy()
            active = activities(values, groups.weights, signed=signed)
            along = positioned(slope, layer)[0].float().cpu().numpy()
            along = along @ joined(groups.weights, signed=signed).T
            np.add.at(sums[layer].T, concepts.labels[some], (active * along).sum(1))
    each = np.maximum(counts, 1).astype(np.float32)
    return {layer: total / each for layer, total in sums.items()}


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
        chosen = _of_class(answers, truth)
        gradients = torch.autograd.grad(
            chosen.sum(), list(outputs.values()), allow_unused=True, materialize_grads=True
        )
    pairs = zip(outputs.items(), gradients, strict=True)
    return {layer: (output.detach(), slope) for (layer, output), slope in pairs}


def _of_class(answers: object, truth: Tensor) -> Tensor:
    """The answer for the true class of each example; of one logit, towards it."""
    if not isinstance(answers, Tensor) or answers.ndim not in (1, 2):
        raise ValueError("the model's answers are not one number for each class")
    rows = answers.float().reshape(len(answers), -1)
    if rows.shape[1] == 1:
        if bool((truth > 1).any()):
            raise ValueError("one answer, but more than two classes")
        return rows[:, 0] * (2 * truth - 1)
    if bool(((truth < 0) | (truth >= rows.shape[1])).any()):
        raise ValueError("targets are no numbers of outputs")
    return rows.gather(1, truth[:, None])[:, 0]


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
