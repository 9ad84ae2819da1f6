"""Pieces of a batch on their way from a device to the host, without waiting."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from backslide.measure.batches.facts import FEATURES

EXAMPLES: Final = 64
"""Examples of a batch that are looked at."""

OUTPUTS: Final = 1024
"""Answers with more numbers than this are not read: word lists, images."""

ELEMENTS: Final = 2**22
"""Elements of which a copy in another order may be made on the way to a piece."""

NOT_INPUTS: Final = ("label", "target", "mask")
"""Arguments with these in their names are no inputs: some models are given their labels."""


class Piece:
    """A small copy of part of a tensor.

    Args:
        tensor: as small as the copy shall be.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Starts the copy."""
        tensor = tensor.detach()
        if tensor.dtype in (torch.float16, torch.bfloat16):
            tensor = tensor.float()
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            with torch.cuda.device(tensor.device):
                self._host.copy_(tensor, non_blocking=True)
                self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
                self._copied.record()
        else:
            self._host = tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)

    def ready(self) -> bool:
        """Whether the copy is complete; never waits."""
        return self._copied is None or bool(self._copied.query())  # type: ignore[no-untyped-call]  # torch has no types here

    def array(self) -> NDArray[Any]:
        """What arrived; waits for it when it is not `ready`."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host.numpy()


def features(inputs: Tensor) -> Tensor:
    """The first examples with evenly spread features of each, shape (n, f)."""
    size = math.prod(inputs.shape[1:])
    rows = inputs[: max(2, min(EXAMPLES, ELEMENTS // size))].reshape(-1, size)
    if size <= FEATURES:
        return rows
    stride = -(-size // FEATURES)
    while math.gcd(stride, size) != 1:  # not in step with channels or rows
        stride += 1
    return rows[:, ::stride]


def first_inputs(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Tensor | None:
    """The first tensor among a model's arguments that has examples and features."""
    named = {
        key: value
        for key, value in kwargs.items()
        if not any(word in key.lower() for word in NOT_INPUTS)
    }
    return next((found for found in tensors((args, named)) if _usable(found)), None)


def first_answers(output: object, examples: int) -> Tensor | None:
    """The first tensor of floats in a model's output with one row an example."""
    for found in tensors(output):
        if found.is_floating_point() and found.ndim and len(found) == examples:
            return found
    return None


def flat_answers(output: Tensor) -> Tensor | None:
    """The first examples' answers, shape (n, k); None where they are no few numbers each."""
    rows = output[:EXAMPLES]
    if rows.ndim == 1:
        return rows[:, None]
    return rows.flatten(1) if math.prod(rows.shape[1:]) <= OUTPUTS else None


def tensors(value: object) -> Iterator[Tensor]:
    """All plain tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and not value.is_nested and not value.is_meta:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)


def mapped(value: object, change: Callable[[Tensor], Tensor]) -> object:
    """A copy of nested tuples, lists and dictionaries with each tensor changed.

    Other containers (batches of graphs, packed sequences) are passed on as they are.
    """
    if isinstance(value, Tensor):
        return change(value)
    kind = type(value)
    if kind is dict:
        return {key: mapped(item, change) for key, item in value.items()}  # type: ignore[attr-defined]  # a dict
    if kind in (tuple, list):
        return kind(mapped(item, change) for item in value)  # type: ignore[attr-defined]  # a sequence
    return value


def _usable(tensor: Tensor) -> bool:
    """Are there several examples, or one, with at least one feature?"""
    return tensor.ndim > 0 and tensor.numel() > 0 and not tensor.is_complex()
