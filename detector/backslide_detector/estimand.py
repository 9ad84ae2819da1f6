"""One answer about the difference between two runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimand:
    """One of the two questions, answered as far as the evidence goes.

    Attributes:
        effect: new error minus old error, as a fraction; None when it could not be estimated.
        interval: 95 % confidence interval of the effect, (low, high).
        pvalue: two-sided, against "no difference".
        n: examples (question "model") or retrains (question "recipe") it rests on.
        method: the test and the interval by their names in the literature.
        reason: why something above is missing, and what would settle it.
        fixed, broken: examples newly right and newly wrong, when the test was paired.
    """

    effect: float | None = None
    interval: tuple[float, float] | None = None
    pvalue: float | None = None
    n: int = 0
    method: str = ""
    reason: str | None = None
    fixed: int | None = None
    broken: int | None = None

    @property
    def discordant(self) -> float | None:
        """Share of the examples on which the two models disagree; None if unpaired."""
        if self.fixed is None or self.broken is None or not self.n:
            return None
        return (self.fixed + self.broken) / self.n
