"""The examples of a probe: nested inputs, taken a few at a time, and their identity."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backslide.measure.batches.pieces import mapped, tensors
from backslide.record.calls import content_ids
from backslide.record.data import to_array
from backslide.record.predictions import unique


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of a model, one row an example in each tensor that has as many rows.

    Attributes:
        inputs: a tensor, or tuples, lists and dictionaries of them, as the model takes them.
        given: examples at hand.
        rows: how many of them are used, the first ones.
    """

    inputs: object
    given: int
    rows: int

    @classmethod
    def of(cls, inputs: object, most: int) -> "Examples":
        """Takes tensors and arrays.

        Args:
            inputs: whatever the model is called with; arrays become tensors, their numbers
                of torch's default precision.
            most: examples used at most.

        Raises:
            ValueError: there is no tensor with examples in them.
        """
        nested = _tensors(inputs)
        first = next((each for each in tensors(nested) if each.ndim), None)
        if first is None:
            raise ValueError("no tensor among the inputs: give what the model is called with")
        return cls(nested, len(first), min(len(first), most))

    def part(self, start: int, stop: int) -> object:
        """The inputs of the examples from one to before another."""
        return self._each(lambda tensor: tensor[start : min(stop, self.rows)])

    def some(self, places: NDArray[np.intp]) -> object:
        """The inputs of chosen examples."""
        return self._each(lambda tensor: tensor[torch.as_tensor(places, device=tensor.device)])

    def _each(self, change: Callable[[Tensor], Tensor]) -> object:
        """The inputs with each tensor changed that counts examples."""

        def changed(tensor: Tensor) -> Tensor:
            counts = tensor.ndim > 0 and len(tensor) == self.given
            return change(tensor) if counts else tensor

        return mapped(self.inputs, changed)

    def device(self) -> torch.device:
        """Where the inputs are."""
        return next(tensors(self.inputs)).device

    def ids(self) -> list[str]:
        """What identifies each example across retrains: as `evaluate` names it."""
        return unique(content_ids(self.part(0, self.rows)))

    def digest(self, targets: object) -> str:
        """32 hexadecimal digits over the inputs and targets, types and shapes."""
        hashed = hashlib.blake2b(digest_size=16)
        arrays = [to_array(tensor) for tensor in tensors(self.part(0, self.rows))]
        if targets is not None:
            arrays.append(to_array(targets)[: self.rows])
        for array in arrays:
            values = array if array.dtype.kind in "biuf" else array.astype(str)
            hashed.update(f"{values.dtype.str}|{values.shape}|".encode())
            hashed.update(np.ascontiguousarray(values).tobytes())
        return hashed.hexdigest()


def column(values: object, name: str, examples: Examples) -> NDArray[Any]:
    """One entry an example, shape (rows, ...).

    Raises:
        ValueError: there are not as many as examples.
    """
    array = to_array(values)
    if array.ndim == 0 or len(array) != examples.given:
        entries = len(array) if array.ndim else "one"
        raise ValueError(f"{examples.given} examples, but {entries} {name}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return array[: examples.rows]


def _tensors(value: object) -> object:
    """The same nested things with arrays as tensors and mappings as dictionaries."""
    if isinstance(value, np.ndarray):
        tensor = torch.as_tensor(value)
        return tensor.to(torch.get_default_dtype()) if value.dtype.kind == "f" else tensor
    if isinstance(value, Mapping):
        return {key: _tensors(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return tuple(_tensors(item) for item in value)  # type: ignore[attr-defined]  # a sequence
    return value
