"""How much retrains differ by luck, and whether a difference is more than that."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backslide_detector.judgement import Estimand
from backslide_detector.retrain.history import PastRun
from backslide_detector.stats.predictive import Spread, pooled_spread

PRIOR_PHI: Final = 1.3
"""Over-dispersion of flips between retrains expected beforehand: runs of one recipe err nearly
independently across examples (Jordan 2023, arXiv 2304.01910), so their error rates vary little
more than independent flips would make them."""

HISTORY: Final = 20
"""Retrains that count as "lately"; older ones say little about the recipe of today."""


@dataclass(frozen=True, slots=True)
class RecipeAnswer:
    """Recipe against recipe, and the retrain noise it was held against, where that is known."""

    estimand: Estimand
    spread: Spread | None = None

    @property
    def beyond_noise(self) -> bool | None:
        """True: more than luck; False: luck may explain it; None: cannot tell."""
        interval = self.estimand.interval
        return None if interval is None else not interval[0] <= 0.0 <= interval[1]


def prior_sd(examples: int, rate: float, discordant: float | None) -> float:
    """Spread of the error of one retrain that is expected before any was repeated.

    On a fixed test set the sampling of examples cancels and only flips count: phi disc / (2 n).
    Two models of one recipe flip no more than independent errors would, 2 p (1 - p): beyond
    that, a pair disagrees because it differs, and its flips say nothing about luck.
    """
    rate = (rate * examples + 1) / (examples + 2)  # an error of zero is no proof of no error
    independent = 2 * rate * (1 - rate)
    if discordant is None:
        return math.sqrt(independent / (2 * examples))
    return math.sqrt(PRIOR_PHI * min(discordant, independent) / (2 * examples))


def compare_recipes(
    new: PastRun, old: PastRun, history: Sequence[PastRun], *, discordant: float | None
) -> RecipeAnswer:
    """Hold the difference of two recipes against the noise between retrains.

    Repeats of a recipe under several seeds are the best source. Without any, the lately
    accepted runs of the lineage serve: their spread contains real changes too, which makes the
    answer cautious. With the predecessor alone there is no spread, and no answer.

    Args:
        new: the retrain; its error and number of examples must be known.
        old: the baseline, likewise.
        history: runs of the lineage, in any order; may include both.
        discordant: share of common examples on which the two models disagree; None if unpaired.
    """
    if new.error is None or old.error is None:
        return RecipeAnswer(Estimand(reason="a run states no error"))
    effect = new.error.rate - old.error.rate
    if not new.error.examples or old.error.examples != new.error.examples:
        return RecipeAnswer(
            Estimand(
                effect=effect,
                n=2,
                reason="the two runs were tested on different numbers of examples, so retrains "
                "cannot be told from test sets; test both on one set",
            )
        )
    prior = prior_sd(new.error.examples, old.error.rate, discordant)
    known = {run.run_id: run for run in (*history, old, new) if _comparable(run, new)}

    repeats: defaultdict[str, list[float]] = defaultdict(list)
    for run in known.values():
        if run.recipe is not None and run.error is not None:
            repeats[run.recipe].append(run.error.rate)
    if new.recipe is not None and new.recipe == old.recipe:
        # One recipe: this pair is itself a measurement of the noise, whatever the difference.
        repeats = defaultdict(list, {k: v for k, v in repeats.items() if len(v) > 1})
        spread = pooled_spread(list(repeats.values()), prior)
        return _answer(
            effect,
            spread,
            2.0,
            n=_size(repeats),
            method="one recipe, two seeds; predictive t interval",
        )
    if any(len(rates) > 1 for rates in repeats.values()):
        spread = pooled_spread(list(repeats.values()), prior)
        ours = repeats.get(new.recipe or "", [new.error.rate])
        theirs = repeats.get(old.recipe or "", [old.error.rate])
        return _answer(
            sum(ours) / len(ours) - sum(theirs) / len(theirs),
            spread,
            1 / len(ours) + 1 / len(theirs),
            n=_size({k: v for k, v in repeats.items() if len(v) > 1}),
            method="t interval with the spread of seed repeats, shrunk to a prior",
        )

    earlier = sorted(
        (run for run in known.values() if run.accepted and run.started < new.started),
        key=lambda run: run.started,
    )[-HISTORY:]
    rates = [run.error.rate for run in earlier if run.error is not None]
    if len(rates) < 2:
        return RecipeAnswer(
            Estimand(
                effect=effect,
                n=2,
                reason="one retrain of each recipe cannot tell a change from luck; train this "
                "recipe three more times with other seeds",
            )
        )
    return _answer(
        new.error.rate - sum(rates) / len(rates),
        pooled_spread([rates], prior),
        1 + 1 / len(rates),
        n=len(rates),
        method="predictive t interval from the accepted retrains of the lineage",
    )


def _answer(
    effect: float, spread: Spread, inverse_n: float, *, n: int, method: str
) -> RecipeAnswer:
    """The estimand with its interval."""
    half = spread.half_width(inverse_n)
    estimand = Estimand(
        effect=effect,
        interval=(effect - half, effect + half),
        pvalue=spread.pvalue(effect, inverse_n),
        n=n,
        method=method,
    )
    return RecipeAnswer(estimand, spread)


def _comparable(run: PastRun, new: PastRun) -> bool:
    """True when a run's error was measured on the same split and number of examples."""
    if run.error is None or new.error is None or not 0 <= run.error.rate <= 1:
        return False
    if not (run.finished or run.run_id == new.run_id):
        return False
    return (run.error.split, run.error.examples) == (new.error.split, new.error.examples)


def _size(groups: dict[str, list[float]]) -> int:
    """Retrains in all groups together."""
    return sum(map(len, groups.values()))
