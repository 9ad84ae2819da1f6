"""Which changed factor made the difference: Shapley values of a factorial design."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from backslide_detector.stats.comparison import require_share

Cell = frozenset[str]
"""The factors that are new in a run; the others are as they were."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one factor, or a pair of them together, added to the error.

    Attributes:
        factors: one name, or two for an interaction.
        effect: error added, in the unit of the cells.
        interval: confidence interval; None without a measure of noise.
        pvalue: two-sided, not adjusted for the number of factors; None without a measure of
            noise.
    """

    factors: tuple[str, ...]
    effect: float
    interval: tuple[float, float] | None = None
    pvalue: float | None = None


def cells(factors: tuple[str, ...]) -> tuple[Cell, ...]:
    """All combinations of old and new factors, from none to all."""
    return tuple(
        frozenset(chosen)
        for size in range(len(factors) + 1)
        for chosen in combinations(factors, size)
    )


def shapley_weights(factors: tuple[str, ...], factor: str) -> dict[Cell, float]:
    """Weight of each cell in the Shapley value of a factor (Shapley 1953); they add up to 0."""
    k = len(factors)
    weights = {}
    for cell in cells(factors):
        others = len(cell - {factor})
        share = math.factorial(others) * math.factorial(k - others - 1) / math.factorial(k)
        weights[cell] = share if factor in cell else -share
    return weights


def interaction_weights(factors: tuple[str, ...], pair: tuple[str, str]) -> dict[Cell, float]:
    """Weight of each cell in the interaction of two factors.

    The Shapley interaction index (Grabisch and Roubens 1999, International Journal of Game
    Theory 28:547-565): what both together add beyond the sum of each alone.
    """
    k = len(factors)
    weights = {}
    for cell in cells(factors):
        others = len(cell - set(pair))
        share = math.factorial(others) * math.factorial(k - others - 2) / math.factorial(k - 1)
        weights[cell] = share if len(cell & set(pair)) != 1 else -share
    return weights


def attribute(
    errors: Mapping[Cell, float],
    *,
    seed_sd: float | None = None,
    seed_df: float = math.inf,
    repeats: int | Mapping[Cell, int] = 1,
    wrong: Mapping[Cell, ArrayLike] | None = None,
    level: float = 0.95,
) -> tuple[Contribution, ...]:
    """Split the difference between two recipes among the factors that changed.

    The effects of single factors add up to the whole difference; an interaction is contained in
    them, split evenly, and shown beside them.

    Args:
        errors: error of every cell of the factorial design, by its new factors.
        seed_sd: noise of one retrain.
        seed_df: degrees of freedom of `seed_sd`.
        repeats: runs averaged in each cell, where it is not the same for all by cell.
        wrong: outcome of each common example in every cell, shape (n,); adds the sampling of
            examples to the noise, jointly over cells because the examples are the same.
        level: coverage of the intervals.

    Returns:
        One contribution a factor, then one a pair of factors; largest effect first in each.

    Raises:
        ValueError: cells that are missing, or errors that are not finite, or no repeats.
    """
    require_share(level=level)
    factors = tuple(sorted(frozenset().union(*errors))) if errors else ()
    design = cells(factors)
    if not factors or set(design) != set(errors):
        raise ValueError(f"a factorial over {factors} needs all {len(design)} of its cells")
    if not all(math.isfinite(error) for error in errors.values()):
        raise ValueError("errors must be finite")
    runs = dict.fromkeys(design, repeats) if isinstance(repeats, int) else dict(repeats)
    if min(runs.get(cell, 0) for cell in design) < 1:
        raise ValueError("each cell needs a run")
    contrasts = [((name,), shapley_weights(factors, name)) for name in factors]
    pairs = [(pair, interaction_weights(factors, pair)) for pair in combinations(factors, 2)]
    quantile = float(stats.t.ppf((1 + level) / 2, seed_df))

    def contribution(names: tuple[str, ...], weights: Mapping[Cell, float]) -> Contribution:
        effect = sum(weights[cell] * errors[cell] for cell in design)
        variance = _variance(weights, design, seed_sd, runs, wrong)
        if variance is None:
            return Contribution(names, effect)
        error = math.sqrt(variance)
        half = quantile * error
        pvalue = (
            float(2 * stats.t.sf(abs(effect) / error, seed_df)) if error else float(not effect)
        )
        return Contribution(names, effect, (effect - half, effect + half), pvalue)

    return (
        *sorted((contribution(*c) for c in contrasts), key=lambda c: -abs(c.effect)),
        *sorted((contribution(*c) for c in pairs), key=lambda c: -abs(c.effect)),
    )


def _variance(
    weights: Mapping[Cell, float],
    design: tuple[Cell, ...],
    seed_sd: float | None,
    runs: Mapping[Cell, int],
    wrong: Mapping[Cell, ArrayLike] | None,
) -> float | None:
    """Variance of a contrast of cells; None when nothing is known about the noise."""
    if seed_sd is None and wrong is None:
        return None
    variance = 0.0
    if seed_sd is not None:
        variance += seed_sd**2 * sum(weights[cell] ** 2 / runs[cell] for cell in design)
    if wrong is not None:
        total: NDArray[np.float64] | float = 0.0
        for cell in design:
            total = total + weights[cell] * np.asarray(wrong[cell], dtype=np.float64)
        outcomes = np.asarray(total)
        if outcomes.ndim != 1 or len(outcomes) < 2:
            raise ValueError(
                "outcomes must have one value an example, for two or more examples"
            )
        variance += float(outcomes.var(ddof=1)) / len(outcomes)
    return variance
