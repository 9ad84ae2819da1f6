"""Which channels of a layer fire together, and where: non-negative matrix factors.

At each position a layer's outputs are a sum of a few groups of channels, each more or less
active (Olah et al. 2018, "The building blocks of interpretability"). Fitted by hierarchical
alternating least squares (Cichocki and Phan 2009, IEICE Transactions E92-A 3).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide.contract import GROUP_GRID, GROUPS

Floats = NDArray[np.float32]

ROWS: Final = 2_048
"""Positions, of all examples, that factors are fitted to."""

FITTING: Final = 15
"""Rounds of alternating least squares at most."""

SETTLED: Final = 5e-4
"""Gain in the explained share of the sum of squares below which there is no further round."""

INNER: Final = 3
"""Rounds on one factor before the other one's turn: the products of large matrices, which cost
most, are made once for them (Gillis and Glineur 2012, Neural Computation 24 4)."""

SOLVING: Final = 12
"""Rounds for activities when the weights are known."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Of one layer, the largest first.

    Attributes:
        weights: of the channels, or of their positive, then negative parts, each of unit
            length, shape (groups, width).
        share: of the sum of squares that all explain together, shape (groups,).
        stability: cosine of the weights with their match from another start, shape (groups,).
    """

    weights: Floats
    share: Floats
    stability: Floats


def find(outputs: Floats, *, signed: bool) -> Groups:
    """Fits groups to outputs, shape (examples, positions, channels), all finite.

    Args:
        outputs: of which some positions are taken, the same in every run of this shape.
        signed: whether positive and negative parts are told apart.
    """
    examples, positions, channels = outputs.shape
    flat = outputs.reshape(-1, channels)
    random = np.random.default_rng((examples, positions, channels))
    if len(flat) > ROWS:
        flat = flat[np.sort(random.choice(len(flat), ROWS, replace=False))]
    parts = split(flat, signed=signed)
    parts = parts[parts.any(1)]
    number = min(GROUPS, channels, len(parts))
    if number == 0:
        nothing = np.zeros(0, np.float32)
        return Groups(np.zeros((0, parts.shape[1]), np.float32), nothing, nothing)
    best = _fit(parts, number, random)
    other = _fit(parts[::2] if len(parts) > 2 * number else parts, number, random)
    cosines = best.weights @ other.weights.T
    stability = cosines[np.arange(number), _matched(cosines)]
    order = np.argsort(-best.strength, kind="stable")
    share = best.strength / best.strength.sum().clip(1e-30)
    return Groups(best.weights[order], share[order], np.asarray(stability[order]))


def split(rows: Floats, *, signed: bool) -> Floats:
    """Rows of numbers as rows of non-negative ones: the positive, then the negative parts."""
    positive = rows.clip(0.0, None)
    return np.concatenate([positive, (-rows).clip(0.0, None)], 1) if signed else positive


def joined(weights: Floats, *, signed: bool) -> Floats:
    """What a group adds to each channel, from its weights, shape (groups, channels)."""
    half = weights.shape[1] // 2
    return weights[:, :half] - weights[:, half:] if signed else weights


def activities(outputs: Floats, weights: Floats, *, signed: bool) -> Floats:
    """How active each group is, shape (examples, positions, groups).

    Args:
        outputs: shape (examples, positions, channels).
        weights: shape (groups, width).
        signed: as when they were found.
    """
    rows = outputs.reshape(-1, outputs.shape[-1])
    found = np.zeros((len(weights), len(rows)), np.float32)
    _descend(found, weights @ split(rows, signed=signed).T, weights @ weights.T, SOLVING)
    return np.asarray(found.T.reshape(*outputs.shape[:2], len(weights)), np.float32)


def maps(active: Floats, grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Activities on a coarse grid, shape (examples, groups, 16); 255 is a group's largest.

    Args:
        active: shape (examples, positions, groups).
        grid: rows and columns of the positions.
    """
    examples, _, groups = active.shape
    image = active.reshape(examples, *grid, groups)
    cells = _pooled(_pooled(image, 1), 2)
    largest = cells.max((0, 1, 2), initial=0.0)
    scaled = cells / np.where(largest > 0, largest, 1.0) * 255
    return np.rint(scaled).astype(np.uint8).reshape(examples, -1, groups).transpose(0, 2, 1)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Factors from one start; `strength`: sum of squares of each."""

    weights: Floats
    strength: Floats


def _fit(parts: Floats, number: int, random: np.random.Generator) -> _Fit:
    scale = np.float32(np.abs(parts).max())
    parts = parts / scale
    whole = float(np.vdot(parts, parts))
    weights = _spread(parts, number, random)
    active = np.zeros((number, len(parts)), np.float32)
    explained = -1.0
    for _ in range(FITTING):
        target, gram = weights @ parts.T, weights @ weights.T
        before = explained
        explained = (
            float(2 * np.vdot(active, target) - np.vdot(active @ active.T, gram)) / whole
        )
        if 0.0 < explained < before + SETTLED:
            break
        _descend(active, target, gram, INNER)
        _descend(weights, active @ parts, active @ active.T, INNER)
        lengths = np.linalg.norm(weights, axis=1, keepdims=True)
        lengths[lengths == 0] = 1.0
        weights /= lengths
        active *= lengths
    return _Fit(weights, np.square(active).sum(1))


def _spread(parts: Floats, number: int, random: np.random.Generator) -> Floats:
    """Rows that point in different directions, to start from (k-means++ by cosine)."""
    units = parts / np.linalg.norm(parts, axis=1, keepdims=True)
    energy = np.square(parts).sum(1)
    distance = np.ones(len(parts))
    chosen: list[int] = []
    for _ in range(number):
        odds = energy * distance
        total = odds.sum()
        odds = np.full(len(parts), 1 / len(parts)) if total <= 0 else odds / total
        chosen.append(int(random.choice(len(parts), p=odds / odds.sum())))
        distance = np.minimum(distance, (1 - units @ units[chosen[-1]]).clip(0.0, None))
    return np.ascontiguousarray(units[chosen], np.float32)


def _descend(factors: Floats, target: Floats, gram: Floats, rounds: int) -> None:
    """Non-negative least squares, a row of `factors` at a time, in place."""
    sizes = gram.diagonal().copy()
    rows = np.flatnonzero(sizes > 0)
    sizes[sizes == 0] = 1.0
    target = target / sizes[:, None]
    others = gram / sizes[:, None]
    np.fill_diagonal(others, 0.0)
    free = np.empty(factors.shape[1], np.float32)
    for _ in range(rounds):
        for row in rows:
            np.subtract(target[row], np.dot(others[row], factors, out=free), out=free)
            np.maximum(free, 0.0, out=factors[row])


def _matched(cosines: Floats) -> list[int]:
    """Which column each row goes with, each column once, for the largest sum."""
    number = len(cosines)
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for row in range(number):
        longer: dict[int, tuple[float, list[int]]] = {}
        for used, (total, path) in best.items():
            for column in range(number):
                if used >> column & 1:
                    continue
                found = (total + float(cosines[row, column]), [*path, column])
                key = used | 1 << column
                if key not in longer or found[0] > longer[key][0]:
                    longer[key] = found
        best = longer
    return best[(1 << number) - 1][1]


def _pooled(image: Floats, axis: int) -> Floats:
    """Means of parts of an axis, as many as the grid has; they overlap where it is shorter."""
    size = image.shape[axis]
    edges = [
        (cell * size // GROUP_GRID, -(-(cell + 1) * size // GROUP_GRID))
        for cell in range(GROUP_GRID)
    ]
    cells = [image.take(range(start, stop), axis).mean(axis) for start, stop in edges]
    return np.stack(cells, axis)
