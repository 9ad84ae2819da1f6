"""A layer's code: what it says about the examples, whatever its width.

With X the n x d outputs, centred, the Gram matrix K = XX' holds everything that linear
comparisons of layers need (Kornblith et al. 2019, arXiv 1905.00414): the code keeps its leading
principal components, beside the exact norm and trace. Of the rest it keeps random sums of
features, by which inner products of two K are right on average (Achlioptas 2003, Journal of
Computer and System Sciences 66 4).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from backslide.contract import CODE_WIDTH, REMAINDER_WIDTH, SPECTRUM_WIDTH

Floats = NDArray[np.floating]

HALF: Final = (2.0**-6, 2.0**15)
"""Where the largest coordinate must lie to be stored in half precision as it is."""

NOISE: Final = 8 * float(np.finfo(np.float32).eps)
"""Share of the largest eigenvalue below which one is rounding."""

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
        remainder: random sums of what the components leave out, shape (n, 16); the product
            with its transpose is the rest of K on average. No column where nothing is left.
    """

    coordinates: NDArray[np.float64]
    scale: float
    spectrum: NDArray[np.float64]
    gram_norm: float
    gram_trace: float
    remainder: NDArray[np.float32]


def code(features: Floats) -> Code:
    """The code of outputs, shape (n, d), all finite.

    Args:
        features: float32; left as they are.
    """
    size = _power_of_two(features)
    mean = features.mean(0)
    centred = features - mean
    if size != 1.0:
        centred /= np.float32(size)
        mean = mean / np.float32(size)
    narrow = centred.shape[1] < len(centred)
    product = centred.T @ centred if narrow else centred @ centred.T
    trace = float(np.trace(product, dtype=np.float64))
    # What is left of numbers that are all alike is rounding.
    if trace <= CONSTANT**2 * (trace + len(centred) * float(mean @ mean)):
        product, trace = np.zeros_like(product), 0.0
    values, vectors = _eigen(product)
    values[values <= values[0] * NOISE] = 0.0
    lengths = np.sqrt(values[:CODE_WIDTH])
    leading = vectors[:, :CODE_WIDTH]
    if narrow:
        coordinates = np.where(lengths > 0, centred @ leading.astype(np.float32), 0.0)
    else:
        coordinates = leading * lengths
    norm = float(np.linalg.norm(product.astype(np.float64)))
    remainder = np.zeros((len(centred), 0), np.float32)
    if values[CODE_WIDTH:].any():
        remainder = _remainder(centred, (coordinates / lengths).astype(np.float32), norm)
    coordinates = _padded(_signed(coordinates) * size, CODE_WIDTH)
    return Code(
        coordinates,
        _scale(float(np.abs(coordinates).max(initial=0.0))),
        _padded(values[None, :SPECTRUM_WIDTH] * size**2, SPECTRUM_WIDTH)[0],
        norm * size**2,
        trace * size**2,
        remainder * np.float32(size),
    )


def _remainder(centred: Floats, components: Floats, norm: float) -> Floats:
    """Sums of features with random signs, less what the components hold of them.

    The signs follow from the outputs, so that those of two layers have nothing in common: inner
    products of their sums would be too large otherwise.

    Args:
        centred: outputs, shape (n, d).
        components: orthonormal, of the examples, shape (n, r).
        norm: of the Gram matrix; seeds the signs.
    """
    random = np.random.default_rng(np.array([norm]).view(np.uint32))
    shape = (centred.shape[1], REMAINDER_WIDTH)
    signs = 2 * random.integers(2, size=shape, dtype=np.int8).astype(np.float32) - 1
    sums = centred @ signs / np.float32(np.sqrt(REMAINDER_WIDTH))
    return np.asarray(sums - components @ (components.T @ sums))


def _power_of_two(features: Floats) -> float:
    """What to divide by so that squares neither overflow nor vanish; 1 for usual numbers."""
    largest = max(float(features.max(initial=0.0)), -float(features.min(initial=0.0)))
    if largest == 0.0 or 1e-6 < largest < 1e6:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(largest)))


def _eigen(product: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, descending, and vectors of a product that was summed in float32.

    In float64 where float32 does not converge: seen in a saturated network.
    """
    matrix = torch.from_numpy(product)
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except RuntimeError:  # what LinAlgError is by inheritance
        values, vectors = torch.linalg.eigh(matrix.double())
    descending = values.flip(0).double().clamp_min(0.0).numpy()
    return descending, vectors.flip(1).double().numpy()


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
