"""Finding the tensor that holds the numbers."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """This process's part of a distributed tensor; other tensors as they are."""
    if type(tensor) is Tensor or type(tensor) is nn.Parameter:
        return tensor
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def first_floating(output: object) -> Tensor | None:
    """The first tensor of a floating type in a module's output, however it is nested."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() or output.is_complex() else None
    if isinstance(output, Mapping):
        return _first(output.values())
    if isinstance(output, (tuple, list)):
        return _first(output)
    return None


def _first(items: Iterable[object]) -> Tensor | None:
    return next((found for item in items if (found := first_floating(item)) is not None), None)


def in_backward() -> bool:
    """Whether autograd is running: a forward inside it repeats one seen before."""
    # The way torch.utils.checkpoint tells it; there is no public one.
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001
