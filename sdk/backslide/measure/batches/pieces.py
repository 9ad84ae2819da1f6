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
"""Numbers of an answer that are looked at; a list of more, one a class, is not read."""

FURTHER: Final = 7
"""Tensors after the first that tell an example from others."""

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
    return _spread_over(inputs, FEATURES)


def _spread_over(tensor: Tensor, most: int) -> Tensor:
    """The first examples with so many of their numbers, evenly spread, shape (n, k)."""
    size = math.prod(tensor.shape[1:])
    rows = tensor[: max(2, min(EXAMPLES, ELEMENTS // size))].reshape(-1, size)
    if size <= most:
        return rows
    return rows[:, :: coprime(-(-size // most), size)]


def coprime(stride: int, size: int) -> int:
    """The next larger stride that is not in step with channels or rows."""
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


def first_inputs(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Tensor | None:
    """The first tensor among a model's arguments that has examples and features."""
    return next(_inputs(args, kwargs), None)


def further_inputs(
    args: tuple[object, ...], kwargs: Mapping[str, object], examples: int
) -> list[Tensor]:
    """Those after the first that have a row for each example, too: what else tells it."""
    others = list(_inputs(args, kwargs))[1:]
    return [each for each in others if len(each) == examples][:FURTHER]


def _inputs(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Iterator[Tensor]:
    named = {
        key: value
        for key, value in kwargs.items()
        if not any(word in key.lower() for word in NOT_INPUTS)
    }
    return (found for found in tensors((args, named)) if _usable(found))


def first_answers(output: object, examples: int, steps: int = 0) -> Tensor | None:
    """The first tensor of floats in a model's output with one row an example.

    Args:
        output: of the model.
        examples: rows of the batch.
        steps: of its sequences; without such a tensor, one of a row a step will do.
    """
    floats = [each for each in tensors(output) if each.is_floating_point() and each.ndim]
    by_step = [each for each in floats if steps > 1 and len(each) == examples * steps]
    whole = [each for each in floats if len(each) == examples]
    return next(iter(whole + [each for each in by_step if each.ndim == 2]), None)


def flat_answers(output: Tensor) -> Tensor | None:
    """The first examples' answers, evenly spread numbers of each, shape (n, k).

    None for long lists: of one number a class, some say nothing.
    """
    if output.ndim == 1:
        return output[:EXAMPLES, None]
    if not output.numel() or (output.ndim == 2 and output.shape[1] > OUTPUTS):
        return None
    return _spread_over(output, OUTPUTS)


def by_example(answers: Tensor, examples: int) -> Tensor:
    """Answers of one row an example; those that a model gives token by token are folded."""
    return answers if len(answers) == examples else answers.view(examples, -1, answers.shape[1])


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
