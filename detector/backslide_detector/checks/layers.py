"""Reading layer histories: which tensors are weight matrices, and windows of many snapshots."""

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from backslide.contract import EXPONENT_MAX
from backslide_detector.evidence import Floats, Ints, LayerHistory

FEW_SNAPSHOTS: Final = 3
_RECENT: Final = 0.25
_AT_BOUNDS: Final = 0.9
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "Sigmoid": (0.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Hardtanh": (-1.0, 1.0),
    "Softsign": (-1.0, 1.0),
}
_SCALES: Final = ("Norm", "Embedding")  # by class name: scales and lookup tables, no matrices


def matrices(history: LayerHistory) -> list[int]:
    """Indices of weight matrices and kernels; not biases, norms, embeddings."""
    return [
        index
        for index, (layer, kind) in enumerate(zip(history.layers, history.kinds, strict=True))
        if ("weight" in layer.rpartition(".")[2] or layer.startswith("parameter."))
        and not any(word in kind for word in _SCALES)
    ]


def early(values: Floats) -> Floats:
    """Median over the first quarter of the snapshots, shape (s, ...) to (...)."""
    return _median(values[: _window(values)])


def recent(values: Floats, steps: Ints) -> Floats:
    """Median over the last quarter of the steps, shape (s, ...) to (...).

    Snapshots are dense in the first steps and sparse later, so the last quarter of the
    snapshots alone would reach far back.
    """
    start = steps[-1] - _RECENT * (steps[-1] - steps[0])
    return _median(values[-max(FEW_SNAPSHOTS, int((steps >= start).sum())) :])


def typical(values: Floats) -> Floats:
    """Median over all snapshots, shape (s, ...) to (...)."""
    return _median(values)


def _window(values: Floats) -> int:
    return max(FEW_SNAPSHOTS, int(len(values) * _RECENT))


def _median(values: Floats) -> Floats:
    """Median over the first axis without the gaps; NaN where there are only gaps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns about all-NaN columns
        return np.asarray(np.nanmedian(values, axis=0), dtype=np.float64)


def norm(history: LayerHistory, which: list[int]) -> Floats:
    """Euclidean norm of the chosen tensors together, shape (s,); NaN where not measured."""
    squares = history.rms[:, which] ** 2 * history.count[which]
    total = np.sqrt(np.nansum(squares, axis=1))
    return np.where(np.isnan(squares).all(axis=1), np.nan, total)


def update_ratio(updates: LayerHistory, weights: LayerHistory) -> tuple[Ints, Floats]:
    """Steps and norm of the update over norm of the weights, matrices together, shape (s,).

    All matrices together, because one that starts at zero is moved by infinitely many times its
    size in its first step, and rightly so.
    """
    names = {weights.layers[i]: i for i in matrices(weights)}
    both = [i for i in matrices(updates) if updates.layers[i] in names]
    steps, rows, columns = np.intersect1d(updates.steps, weights.steps, return_indices=True)
    moved = norm(updates, both)[rows]
    size = norm(weights, [names[updates.layers[i]] for i in both])[columns]
    # Weights that decay to nothing must not make their last steps look large.
    return steps, np.where(size > 0.0, moved / np.fmax(size, size[:1]), np.nan)


def spread_within_bounds(activations: LayerHistory) -> Floats:
    """Variance as a share of the most that the mean allows, shape (s, l); 1 at the bounds.

    For a variable on [a, b] with mean m that is (b - m)(m - a) (Bhatia & Davis 2000). NaN for
    layers without bounds.
    """
    low = np.array([_BOUNDS.get(kind, (np.nan, np.nan))[0] for kind in activations.kinds])
    high = np.array([_BOUNDS.get(kind, (np.nan, np.nan))[1] for kind in activations.kinds])
    room = (high - activations.mean) * (activations.mean - low)
    at_one_bound = room < 1e-3 * (high - low) ** 2
    return np.where(at_one_bound, 1.0, activations.std**2 / room)


def share_beyond(activations: LayerHistory, exponent: int) -> Floats:
    """Share of the values of size 2^exponent or more, shape (s, l); 0 where not measured."""
    far = activations.histogram[..., : EXPONENT_MAX - exponent + 1].sum(axis=-1)
    far = far + activations.histogram[..., exponent - EXPONENT_MAX - 1 :].sum(axis=-1)
    whole = activations.histogram.sum(axis=-1)
    return np.asarray(far / np.maximum(whole, 1), dtype=np.float64)


def at_bounds(activations: LayerHistory | None) -> list[str]:
    """Hidden layers that take no other values than their bounds in the first snapshot."""
    if activations is None or activations.steps[0] > 1:
        return []
    spread = np.nan_to_num(spread_within_bounds(activations)[0])
    hidden = activations.depth < activations.depth.max()
    chosen = np.flatnonzero(hidden & (spread > _AT_BOUNDS))
    return [activations.title(i) for i in chosen.tolist()]


def narrowest(weights: LayerHistory) -> tuple[str, int] | None:
    """The narrowest hidden layer and its units (from its bias).

    Only where the next layer takes these units and no others: gates are narrow on purpose.
    """
    linear = [i for i in range(len(weights.layers)) if weights.kinds[i] == "Linear"]
    widths = {
        int(weights.depth[i]): (int(weights.count[i]), weights.module(i))
        for i in linear
        if weights.layers[i].endswith(".bias")
    }
    sizes = {int(weights.depth[i]): int(weights.count[i]) for i in matrices(weights)}
    narrow = [
        (width, layer)
        for (depth, (width, layer)), after in pairwise(sorted(widths.items()))
        if sizes.get(after[0]) == width * after[1][0]
    ]
    if not narrow:
        return None
    width, layer = min(narrow)
    return layer, width
