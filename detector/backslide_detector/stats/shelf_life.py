"""How often a test set can decide before its answers stop being about unseen data."""

import math
from dataclasses import dataclass

from backslide_detector.stats.comparison import require_counts, require_share


@dataclass(frozen=True, slots=True)
class ShelfLife:
    """Uses of a test set.

    Attributes:
        adaptive: decisions it can take when each may be shaped by those before, at least 0.
        planned: models it can compare when all were chosen before the first answer.
        uses: decisions it has taken so far.
    """

    adaptive: int
    planned: int
    uses: int

    @property
    def left(self) -> int:
        """Adaptive decisions left; negative when the guarantee is overdrawn."""
        return self.adaptive - self.uses


def shelf_life(
    n: int, discordant: float, tolerance: float, *, uses: int = 0, delta: float = 0.05
) -> ShelfLife:
    """Decisions that a test set supports with every difference right to within `tolerance`.

    Bernstein's inequality for one paired difference; k planned comparisons need delta / k each.
    With yes-or-no feedback, h decisions can concern any of 2^h - 1 different models, so each
    needs its share of delta (Renggli et al. 2019, ease.ml/ci, arXiv 1903.00278). These are
    worst cases over the use of the answers; wear is slower in practice, but nothing bounds it.

    Args:
        n: examples.
        discordant: share of examples on which compared models disagree.
        tolerance: error of a difference that is still acceptable, as a fraction.
        uses: decisions taken so far.
        delta: probability that any difference is farther off.

    Raises:
        ValueError: no examples, or a share outside its range.
    """
    require_counts(n)
    require_share(discordant=discordant, tolerance=tolerance, delta=delta)
    if uses < 0:
        raise ValueError(f"uses must not be negative, not {uses}")
    exponent = n * tolerance**2 / (2 * discordant + 2 * tolerance / 3)
    # Both signs of a difference count, hence 2 exp(-exponent) for one comparison.
    spare = exponent - math.log(2 / delta)
    return ShelfLife(
        adaptive=math.floor(math.log1p(math.exp(min(spare, 700.0))) / math.log(2)),
        planned=math.floor(math.exp(min(spare, 40.0))),
        uses=uses,
    )
