"""Which extra runs would settle the cause, and what they say once they are there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backslide.contract import Cause
from backslide_detector.retrain.cause import KINDS
from backslide_detector.stats.shapley import Cell, Contribution, attribute, cells

MOST_FACTORS: Final = 3
"""Factors of a full factorial; more are grouped first, and the guilty group is taken apart."""


@dataclass(frozen=True, slots=True)
class ExtraRun:
    """One run that is still missing.

    Attributes:
        new: kinds taken from the new recipe; the others from the old one.
        why: what it is for.
    """

    new: frozenset[Cause]
    why: str


def reruns(seeds: int = 3) -> tuple[str, ...]:
    """What to run first of all: if the gap goes with fresh seeds, it was luck."""
    return (
        f"{seeds} times the old recipe, with fresh seeds",
        f"{seeds} times the new recipe, with fresh seeds",
    )


def missing_runs(
    kinds: Sequence[Cause], done: Sequence[frozenset[Cause]] = ()
) -> tuple[ExtraRun, ...]:
    """The smallest set of runs that separates the kinds that changed.

    Up to three kinds: all combinations, of which the two recipes themselves are there already.
    Four: first both halves apart, then the guilty half.

    Args:
        kinds: that differ between the two recipes; seeds do not count.
        done: combinations that were run already, by their new kinds.

    Raises:
        ValueError: kinds that nobody can change, such as noise.
    """
    unknown = [kind.value for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no run can change {', '.join(unknown)}")
    names = tuple(sorted(set(kinds)))
    there = {frozenset[Cause](), frozenset(names), *done}
    if len(names) > MOST_FACTORS:
        half = frozenset(names[: len(names) // 2])
        combinations = [half, frozenset(names) - half]
    else:
        combinations = [frozenset(map(Cause, cell)) for cell in cells(names)]
    return tuple(
        ExtraRun(cell, _purpose(cell, names)) for cell in combinations if cell not in there
    )


def named(
    errors: Mapping[frozenset[Cause], float],
    *,
    seed_sd: float,
    seed_df: float = math.inf,
    repeats: int = 1,
    alpha: float = 0.05,
) -> tuple[tuple[Contribution, ...], tuple[Cause, ...]]:
    """Contributions of all kinds from a complete factorial, and the kinds shown to matter.

    Args:
        errors: error rate of each combination, by its new kinds.
        seed_sd: noise of one retrain.
        seed_df: degrees of freedom of it.
        repeats: runs averaged in each combination.
        alpha: chance of naming any kind when none matters (Bonferroni).

    Raises:
        ValueError: a combination is missing.
    """
    by_name: dict[Cell, float] = {
        frozenset(kind.value for kind in cell): error for cell, error in errors.items()
    }
    found = attribute(by_name, seed_sd=seed_sd, seed_df=seed_df, repeats=repeats)
    single = [c for c in found if len(c.factors) == 1]
    guilty = tuple(
        Cause(c.factors[0])
        for c in single
        if c.pvalue is not None and c.pvalue * len(single) < alpha
    )
    return found, guilty


def _purpose(cell: frozenset[Cause], names: Sequence[Cause]) -> str:
    """What one combination is for."""
    new = " and ".join(name for name in names if name in cell)
    old = " and ".join(name for name in names if name not in cell)
    return f"new {new}, old {old}"
