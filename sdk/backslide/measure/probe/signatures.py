"""What each channel does at a few fixed places: enough to know it again in a retrain."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide.contract import SIGNATURE_LENGTH

Floats = NDArray[np.floating]

CONSTANT: Final = 1e-6
"""Range over magnitude below which a channel does not vary."""


@dataclass(frozen=True, eq=False)
class Signatures:
    """Of the channels of a layer.

    Attributes:
        values: shape (channels, places), as whole numbers of `scale`.
        scale: shape (channels,).
        live: whether the channel varies over all examples and positions, shape (channels,).
        signed: whether any output is negative.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    live: NDArray[np.bool_]
    signed: bool


def signatures(outputs: Floats) -> Signatures:
    """Of outputs, shape (examples, positions, channels), all finite."""
    examples, positions, channels = outputs.shape
    flat = outputs.reshape(-1, channels)
    return of_places(flat[places(examples, positions)], flat.min(0), flat.max(0))


def of_places(taken: Floats, low: Floats, high: Floats) -> Signatures:
    """Of outputs at the places, shape (places, channels), all finite.

    Args:
        taken: the outputs.
        low: least output of each channel anywhere, shape (channels,).
        high: its largest one.
    """
    magnitude = np.maximum(np.abs(low), np.abs(high))
    taken = taken.T
    scale = np.abs(taken).max(1).astype(np.float32) / np.float32(127)
    steps = taken / np.where(scale > 0, scale, 1.0)[:, None]
    return Signatures(
        np.rint(steps).astype(np.int8),
        scale,
        high - low > CONSTANT * magnitude,
        bool((low < 0).any()),
    )


def places(examples: int, positions: int) -> NDArray[np.intp]:
    """Rows of (examples x positions): the same ones for the same two numbers.

    Each of another example while there are enough.
    """
    random = np.random.default_rng((examples, positions))
    if examples < SIGNATURE_LENGTH:
        count = min(SIGNATURE_LENGTH, examples * positions)
        return np.sort(random.choice(examples * positions, count, replace=False))
    chosen = np.sort(random.permutation(examples)[:SIGNATURE_LENGTH])
    return np.asarray(
        chosen * positions + random.integers(positions, size=len(chosen)), np.intp
    )
