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

CAUTION: Final = 6.0
"""Times the evidence that the bound asks for. The bound is on an average, and the noise between
retrains is known only roughly: by simulation on one test set this brings false alarms from 0.5
in 1,000 retrains to 0.08, and costs a third of a retrain of delay."""

SHIFTS: Final = (1.5, 3.0, 6.0)
"""Regressions that the detector mixes over, in standard deviations of one retrain."""

WINDOW: Final = 50
"""Retrains among which the onset of a regression is looked for; what is slower is creep."""

MEMORY: Final = 200
"""Scores that are kept: they tell how lucky the reference was to within 7 % of the noise."""


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
class Watched:
    """What the detector says of a retrain, and how it goes on.

    Attributes:
        alarmed: the lineage got worse than its reference.
        leads: it got better, and this retrain is the reference from now on.
        then: the detector for the next one: after an alarm it begins anew with what was known
            of the level before, and against a new reference with nothing.
    """

    alarmed: bool
    leads: bool
    then: "FlipAlarm"


@dataclass(frozen=True, slots=True)
class FlipAlarm:
    """Retrains against one reference, in their order: has the lineage got worse, or better?

    A retrain scores (broken - fixed) / sqrt(phi (broken + fixed) / 2): its distance to the
    reference in standard deviations of one retrain. The reference had luck of its own on its
    test examples, the same in each of these scores, and adding them up would count that luck
    again and again. So the level of the scores is unknown, one for each yardstick, and the
    reference is the first observation of it, at 0: while nothing changes, a score falls
    N(0, 1 + 1/m) around the mean of the m before it, whatever the luck was. An onset and a size
    of a regression shift the scores from there on, and each gives a likelihood ratio; the
    detector is the sum over onsets of the mean over `SHIFTS`, divided by `CAUTION`. On examples
    that are fresh each time m is 1, and the score is McNemar's, whose likelihood ratios have
    mean at most 1 exactly (Hoeffding 1963, JASA 58:13-30).

    Attributes:
        scores: of the last `MEMORY` retrains.
        yardsticks: what each was measured with; scores of one yardstick share the reference's
            luck, and None shares it with nothing.
        settled: leading scores that no onset can lie among: they came before an alarm.
    """

    scores: tuple[float, ...] = ()
    yardsticks: tuple[str | None, ...] = ()
    settled: int = 0

    def after(
        self, broken: int, fixed: int, *, yardstick: str | None = None, phi: float = 1.0
    ) -> "FlipAlarm":
        """The detector after one more retrain.

        Args:
            broken: examples newly wrong against the reference.
            fixed: examples newly right.
            yardstick: names the reference's answers on these examples; None when they are
                fresh.
            phi: over-dispersion of retrains, at least 1.

        Raises:
            ValueError: a negative count, or a `phi` below 1.
        """
        require_counts(broken + fixed or 1, broken=broken, fixed=fixed)
        if not (math.isfinite(phi) and phi >= 1):
            raise ValueError(f"phi must be a finite number of 1 or more, not {phi}")
        score = (broken - fixed) / math.sqrt(phi * max(broken + fixed, 1) / 2)
        dropped = max(len(self.scores) + 1 - MEMORY, 0)
        return FlipAlarm(
            (*self.scores, score)[-MEMORY:],
            (*self.yardsticks, yardstick)[-MEMORY:],
            max(self.settled - dropped, 0),
        )

    @property
    def value(self) -> float:
        """Evidence that the lineage got worse: an alarm is due at the run length."""
        return self._total(self._log_ratios(1.0))

    @property
    def improvement(self) -> float:
        """Evidence that it got better than the reference, on the same scale."""
        return self._total(self._log_ratios(-1.0))

    def watched(self, run_length: float = RUN_LENGTH) -> Watched:
        """Whether an alarm is due, or a new reference, and the detector to go on with."""
        if self.value >= run_length:
            return Watched(alarmed=True, leads=False, then=self._anew())
        if self.improvement >= run_length:
            return Watched(alarmed=False, leads=True, then=FlipAlarm())
        return Watched(alarmed=False, leads=False, then=self)

    def _anew(self) -> "FlipAlarm":
        """Without what came since the likeliest onset: it says nothing about the reference."""
        ratios = self._log_ratios(1.0)
        kept = len(self.scores) - len(ratios) + int(np.argmax(ratios))
        return FlipAlarm(self.scores[:kept], self.yardsticks[:kept], settled=kept)

    def _log_ratios(self, sign: float) -> NDArray[np.float64]:
        """Logarithm of the likelihood ratio of each onset in the window, oldest first."""
        count = len(self.scores)
        first = max(self.settled, count - WINDOW)
        names = [i if name is None else name for i, name in enumerate(self.yardsticks)]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        groups = np.array([numbers[name] for name in names], dtype=np.int64)
        scores = np.array(self.scores, dtype=np.float64)
        order = np.arange(count)

        # Rows: retrains of the window; columns: those before each on the same yardstick.
        alike = (groups[first:, None] == groups) & (order < order[first:, None])
        known = 1.0 + alike.sum(axis=1)
        residuals = scores[first:] - alike @ scores / known
        weights = known / (known + 1.0)
        # A regression moves the mean of the retrains before by the share that came after it.
        since = alike[:, ::-1].cumsum(axis=1)[:, ::-1][:, first:]
        gains = np.tril(1.0 - since / known[:, None])
        linear = gains.T @ (weights * residuals)
        square = (gains**2).T @ weights
        sizes = sign * np.array(SHIFTS)[:, None]
        logs = sizes * linear - sizes**2 * square / 2
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(SHIFTS)))

    @staticmethod
    def _total(log_ratios: NDArray[np.float64]) -> float:
        if not len(log_ratios):
            return 0.0
        total = float(np.logaddexp.reduce(log_ratios))
        return math.exp(min(total, 700.0)) / CAUTION
