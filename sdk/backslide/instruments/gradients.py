"""Gradients as the optimizer uses them: accumulated, reduced over workers, unscaled, clipped."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from backslide.instruments.tensors import local
from backslide.summary import Scaled, Summary, Units


def gradients(
    summary: Summary,
    keys: list[int],
    parameters: list[Tensor],
    units: list[Units | None],
    scaled: Scaled | None,
) -> None:
    """Queues the gradient of each parameter that has one."""
    for key, parameter, axis in zip(keys, parameters, units, strict=True):
        gradient = parameter.grad
        if gradient is None:
            continue
        gradient = local(gradient.detach())
        if gradient.layout != torch.strided:
            # A sparse gradient is a few rows of an embedding: what is not stored is no zero of
            # interest.
            gradient, axis = gradient.coalesce().values(), None
        summary.add(key, gradient, units=axis, scaled=scaled)


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
