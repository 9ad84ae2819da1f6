"""A layer's code: what it says about the examples, whatever its width.

With X the n x d outputs, centred, the Gram matrix K = XX' holds everything that linear
comparisons of layers need (Kornblith et al. 2019, arXiv 1905.00414): the code keeps its leading
principal components, beside the exact norm and trace.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide.contract import CODE_WIDTH, SPECTRUM_WIDTH

Floats = NDArray[np.floating]

HALF: Final = (2.0**-6, 2.0**15)
"""Where the largest coordinate must lie to be stored in half precision as it is."""

CONSTANT: Final = 16 * float(np.finfo(np.float32).eps)
"""Spread over magnitude below which outputs are the same but for rounding."""


@dataclass(frozen=True, eq=False)
class Code:
    """What is kept of K.

    Attributes:
        coordinates: of each example on the leading components, shape (n, 32), float64; zeros
            beyond the rank.
        scale: power of two to divide them by, so that half precision can hold them.
        spectrum: the 64 largest eigenvalues of K, descending; zeros beyond the rank.
        gram_norm, gram_trace: Frobenius norm and trace of K.
    """

    coordinates: NDArray[np.float64]
    scale: float
    spectrum: NDArray[np.float64]
    gram_norm: float
    gram_trace: float


def code(features: Floats) -> Code:
    """The code of outputs, shape (n, d), all finite.

    In float64 from K on: eigenvalues of saturated networks do not converge in float32.
    """
    largest = float(np.abs(features).max(initial=0.0))
    size = 2.0 ** np.ceil(np.log2(largest)) if largest > 0 else 1.0
    scaled = features / np.asarray(size, features.dtype)
    centred = scaled - scaled.mean(0)
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(scaled):
        centred[:] = 0.0
    narrow = centred.shape[1] < len(centred)
    product = centred.T @ centred if narrow else centred @ centred.T
    values, vectors = np.linalg.eigh(product.astype(np.float64))
    values, vectors = values[::-1].clip(0.0), vectors[:, ::-1][:, :CODE_WIDTH]
    values[values <= values[0] * _noise(centred)] = 0.0
    lengths = np.sqrt(values[:CODE_WIDTH])
    if narrow:
        coordinates = np.where(lengths > 0, centred.astype(np.float64) @ vectors, 0.0)
    else:
        coordinates = vectors * lengths
    coordinates = _padded(_signed(coordinates) * size, CODE_WIDTH)
    return Code(
        coordinates,
        _scale(float(np.abs(coordinates).max(initial=0.0))),
        _padded(values[None, :SPECTRUM_WIDTH] * size**2, SPECTRUM_WIDTH)[0],
        float(np.linalg.norm(values)) * size**2,
        float(values.sum()) * size**2,
    )


def _noise(centred: Floats) -> float:
    """Share of the largest eigenvalue below which an eigenvalue is rounding."""
    return float(np.finfo(centred.dtype).eps) * max(1.0, float(np.sqrt(centred.shape[1])))


def _signed(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same components with the largest coordinate of each positive."""
    largest = np.abs(coordinates).argmax(0)
    signs = np.sign(coordinates[largest, np.arange(coordinates.shape[1])])
    return coordinates * np.where(signs == 0, 1.0, signs)


def _padded(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _scale(largest: float) -> float:
    low, high = HALF
    return 1.0 if largest == 0 or low <= largest <= high else 2.0 ** np.floor(np.log2(largest))
