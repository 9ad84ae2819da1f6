"""Gradients as the optimizer uses them: accumulated, reduced, unscaled, clipped."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from backslide.measure.instruments.clipping import Clips
from backslide.measure.instruments.parameters import Named
from backslide.measure.instruments.tensors import local
from backslide.measure.summary import Summary
from backslide.measure.transfer import Scaled


def gradients(
    summary: Summary,
    parameters: list[Tensor],
    named: list[Named],
    scaled: Scaled | None,
    clips: Clips,
) -> None:
    """Queues the gradient of each parameter that has one; gradients must be off."""
    contexts: dict[int, Scaled] = {}
    for parameter, each in zip(parameters, named, strict=True):
        if parameter.grad is None:
            continue
        context, factor = scaled, clips.factor(parameter)
        if factor is not None:  # one of a few: each clipping has one for all its parameters
            plain = scaled or Scaled(None, None)
            context = contexts.setdefault(id(factor), replace(plain, clipped=factor))
        gradient = local(parameter.grad)
        if gradient.layout == torch.strided:
            summary.add(each.gradient, gradient, units=each.units, scaled=context, lasting=True)
        else:  # some rows of an embedding: the others are no zeros of interest
            summary.add(each.gradient, gradient.coalesce().values(), scaled=context)
    summary.settle()


def scaling(optimizer: Optimizer) -> Scaled | None:
    """What a fused optimizer under a GradScaler will still do to its gradients in its step.

    Other optimizers see gradients already unscaled, and are not called for a skipped step.
    """
    scale = getattr(optimizer, "grad_scale", None)
    found_inf = getattr(optimizer, "found_inf", None)
    return None if scale is None and found_inf is None else Scaled(scale, found_inf)


def has_closure(args: tuple[object, ...], kwargs: dict[str, object]) -> bool:
    """Whether a step computes its own gradients: before it they are last step's."""
    return kwargs.get("closure") is not None or (len(args) > 1 and args[1] is not None)
