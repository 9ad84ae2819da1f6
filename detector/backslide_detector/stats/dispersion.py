"""How much more retrains vary than independent flips: one figure that a fleet can share."""

from dataclasses import dataclass
from typing import Final

from backslide_detector.stats.predictive import PRIOR_WEIGHT

PRIOR_PHI: Final = 1.3
"""Over-dispersion of flips between retrains expected beforehand: runs of one recipe err nearly
independently across examples (Jordan 2023, arXiv 2304.01910), so their error rates vary little
more than independent flips would make them."""

LINEAGES: Final = 50.0
"""Repeats of one's own that any number of other lineages' are worth at most: lineages differ in
their over-dispersion by about a fifth, as estimates from so many repeats do. By simulation of
claims about recipes this keeps their false discovery rate below 5 % up to a phi of 2 and a
spread between lineages of a quarter; with 80 it reaches 5 %, with 20 half of the power is
lost."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """What repeats of recipes have shown.

    Attributes:
        squares: sum of their squared deviations from the mean of their recipe, in units of the
            variance that independent flips would give them; its mean is phi times `df`.
        df: degrees of freedom: repeats, less one for each recipe.
    """

    squares: float = 0.0
    df: int = 0


NO_REPEATS: Final = Dispersion()


def carried_over(df: float) -> float:
    """Degrees of freedom of a noise estimate when it is used for another lineage."""
    return 1 / (1 / LINEAGES + 1 / df)


def expected_phi(fleet: Dispersion) -> tuple[float, float]:
    """(phi, its weight) of a lineage of which no repeats are known, from those of others.

    Raises:
        ValueError: a negative sum or number of repeats.
    """
    if not (fleet.squares >= 0 and fleet.df >= 0):
        raise ValueError(f"no repeats vary by {fleet.squares} in {fleet.df}")
    if not fleet.df:
        return PRIOR_PHI, PRIOR_WEIGHT
    df = PRIOR_WEIGHT + fleet.df
    return (PRIOR_WEIGHT * PRIOR_PHI + fleet.squares) / df, carried_over(df)


def lineage_phi(own: Dispersion, fleet: Dispersion) -> float:
    """Over-dispersion of a lineage from its repeats and the fleet's; 1 without any.

    Raises:
        ValueError: a negative sum or number of repeats.
    """
    if not (own.df or fleet.df):
        return 1.0
    phi, weight = expected_phi(fleet)
    return max((weight * phi + own.squares) / (weight + own.df), 1.0)
