"""The alert channel: a Shiryaev-Roberts e-detector, with a promise that has no end.

Shin, Ramdas and Rinaldo 2022 (arXiv 2203.03532): if every e-value has mean at most 1 while
nothing is wrong, the first time that the detector reaches A comes after A observations or more
on average. A is the only setting, in observations: "one false alarm in 1,000 retrains".
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from backslide_detector.stats.comparison import require_counts

RUN_LENGTH: Final = 1_000.0
"""Retrains between two false alarms, at least and on average."""

CHANCES: Final = np.linspace(0.52, 0.98, 24)
"""Alternatives to 1/2 for the chance that a discordant example is a broken one: evenly spread,
so that the alarm expects neither a slight nor a gross regression."""

_LOG_BROKEN: Final = np.log(2 * CHANCES)
_LOG_FIXED: Final = np.log(2 * (1 - CHANCES))


def flip_e_value(broken: int, fixed: int) -> float:
    """Evidence that more was broken than fixed: mean at most 1 when both are equally likely.

    The likelihood ratio of "each discordant example is broken with probability q" against
    q = 1/2, averaged over q uniform on (1/2, 1).

    Raises:
        ValueError: a negative count.
    """
    require_counts(broken + fixed or 1, broken=broken, fixed=fixed)
    log = (
        (broken + fixed + 1) * math.log(2)
        + special.betaln(broken + 1, fixed + 1)
        + stats.beta.logsf(0.5, broken + 1, fixed + 1)
    )
    return math.exp(min(float(log), 700.0))  # the largest power that a float holds


@dataclass(frozen=True, slots=True)
class FlipAlarm:
    """The detector of one lineage: retrains against the last accepted model, in their order.

    Attributes:
        log_detectors: logarithm of one detector for each of `CHANCES`; empty before the first
            retrain. This is all that has to be stored.
    """

    log_detectors: tuple[float, ...] = ()

    def after(self, broken: int, fixed: int) -> "FlipAlarm":
        """The detector after one more retrain.

        Args:
            broken: examples newly wrong against the last accepted model.
            fixed: examples newly right.

        Raises:
            ValueError: a negative count.
        """
        require_counts(broken + fixed or 1, broken=broken, fixed=fixed)
        evidence = broken * _LOG_BROKEN + fixed * _LOG_FIXED
        before = np.asarray(self.log_detectors) if self.log_detectors else -np.inf
        return FlipAlarm(tuple(map(float, grown(before, evidence))))

    @property
    def value(self) -> float:
        """The detector: an alarm is due when it reaches the run length."""
        if not self.log_detectors:
            return 0.0
        total = float(np.logaddexp.reduce(self.log_detectors))
        return math.exp(min(total - math.log(len(self.log_detectors)), 700.0))


def grown(
    log_detectors: NDArray[np.float64] | float, log_e_values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shiryaev-Roberts recursion R <- (1 + R) e in logarithms, elementwise."""
    return np.asarray(np.logaddexp(0.0, log_detectors) + log_e_values, dtype=np.float64)
