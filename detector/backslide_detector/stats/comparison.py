"""The record that every two-sample comparison returns."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a test measured; what it means is for the caller to decide.

    Attributes:
        statistic: the test statistic, by the convention of `method`.
        pvalue: two-sided unless `method` says otherwise.
        effect: new minus old, in the unit of the data (error rates: a fraction).
        interval: confidence interval of the effect, (low, high).
        n: examples the comparison rests on.
        method: the test and the interval by their names in the literature.
    """

    statistic: float
    pvalue: float
    effect: float
    interval: tuple[float, float]
    n: int
    method: str


def require_counts(n: int, **counts: int) -> None:
    """Check that counts are possible for `n` examples.

    Raises:
        ValueError: a count is negative or above `n`, or there are no examples.
    """
    if n < 1:
        raise ValueError(f"a comparison needs at least one example, not {n}")
    for name, count in counts.items():
        if not 0 <= count <= n:
            raise ValueError(f"{name} must be between 0 and {n}, not {count}")


def require_share(**shares: float) -> None:
    """Check that values lie strictly between 0 and 1.

    Raises:
        ValueError: a value is outside (0, 1) or not a number.
    """
    for name, share in shares.items():
        if not (math.isfinite(share) and 0 < share < 1):
            raise ValueError(f"{name} must lie between 0 and 1, not {share}")
