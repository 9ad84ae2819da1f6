"""What was measured of two models, with all that the decision needs."""

from dataclasses import dataclass
from typing import Final

from backslide.contract import Measure
from backslide_detector.judgement import Groups, MetricChange
from backslide_detector.stats.comparison import Comparison

ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """One comparison of two models.

    Attributes:
        narrow: the 90 % interval, for equivalence.
        mde: smallest difference that could have been shown.
        sizes: what it rests on, in words.
        measure: what the errors are.
        discordant: share of common examples on which the models disagree about being right.
        prior: spread of one retrain expected beforehand, where flips do not tell it.
        metrics: what else was measured.
        groups: classes and slices as one test.
    """

    test: Comparison
    narrow: tuple[float, float]
    mde: float
    new_error: float
    old_error: float
    sizes: str
    measure: Measure = "error"
    discordant: float | None = None
    prior: float | None = None
    fixed: int | None = None
    broken: int | None = None
    advice: str | None = None
    metrics: tuple[MetricChange, ...] = ()
    other_examples: bool = False
    groups: Groups | None = None
