"""Calling a model on somebody's batch, and what identifies the examples in it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backslide.record.data import to_array

if TYPE_CHECKING:
    import torch


def called(model: Any, inputs: Any) -> "torch.Tensor":  # noqa: ANN401  # user's model and inputs
    """The model's answer: its output, the first of several, or the one named "logits"."""
    if isinstance(inputs, Mapping):
        output = model(**inputs)
    elif isinstance(inputs, tuple | list):
        output = model(*inputs)
    else:
        output = model(inputs)
    if isinstance(output, Mapping):
        output = output["logits"] if "logits" in output else next(iter(output.values()))
    output = getattr(output, "logits", output)
    found: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
    return found


def moved(value: Any, device: Any) -> Any:  # noqa: ANN401  # nested tensors
    """The same nested tensors on a device."""
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(moved(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") and device is not None else value


def content_ids(inputs: Any) -> list[str]:  # noqa: ANN401  # nested tensors
    """One digest an example over all input tensors, without what an attention mask hides."""
    if isinstance(inputs, Mapping):
        mask = inputs.get("attention_mask")
        if mask is not None:
            tokens = zip(
                to_array(inputs["input_ids"]), to_array(mask).astype(bool), strict=True
            )
            return [_content_id([row[seen]]) for row, seen in tokens]
        arrays = [to_array(inputs[key]) for key in sorted(inputs)]
    elif isinstance(inputs, tuple | list):
        arrays = [to_array(item) for item in inputs]
    else:
        arrays = [to_array(inputs)]
    return [_content_id(rows) for rows in zip(*arrays, strict=True)]


def _content_id(pieces: Iterable[NDArray[Any]]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        array = np.ascontiguousarray(piece)
        hashed.update(f"{array.dtype.str}|{np.shape(piece)}|".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
