"""How much retrains differ by luck, and whether a difference is more than that."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from backslide_detector.estimand import Estimand
from backslide_detector.retrain.history import PastRun, on_one_course
from backslide_detector.stats.dispersion import NO_REPEATS, PRIOR_PHI, Dispersion, expected_phi
from backslide_detector.stats.predictive import PRIOR_WEIGHT, Spread, pooled_spread

HISTORY: Final = 20
"""Retrains that count as "lately"; older ones say little about the recipe of today."""


@dataclass(frozen=True, slots=True)
class RecipeAnswer:
    """Recipe against recipe, and the retrain noise it was held against.

    Attributes:
        spread: of one retrain, where it is known.
        source: what it is known from, in words.
        presumed: where it is not known: what is expected beforehand. It supports no claim.
    """

    estimand: Estimand
    spread: Spread | None = None
    source: str = ""
    presumed: Spread | None = None

    @property
    def beyond_noise(self) -> bool | None:
        """True: more than luck; False: luck may explain it; None: cannot tell."""
        interval = self.estimand.interval
        return None if interval is None else not interval[0] <= 0.0 <= interval[1]

    @property
    def striking(self) -> bool:
        """Whether the difference is so large that luck is not to be expected, known or not."""
        if self.beyond_noise is not None or self.presumed is None:
            return self.beyond_noise is True
        effect = self.estimand.effect or 0.0
        return abs(effect) > self.presumed.half_width(2.0)


def prior_sd(
    examples: int, rate: float, discordant: float | None, phi: float = PRIOR_PHI
) -> float:
    """Spread of the error of one retrain that is expected before any was repeated.

    On a fixed test set the sampling of examples cancels and only flips count: phi disc / (2 n).
    Two models of one recipe flip no more than independent errors would, 2 p (1 - p): beyond
    that, a pair disagrees because it differs, and its flips say nothing about luck.
    """
    rate = (rate * examples + 1) / (examples + 2)  # an error of zero is no proof of no error
    independent = 2 * rate * (1 - rate)
    if discordant is None:
        return math.sqrt(independent / (2 * examples))
    return math.sqrt(phi * min(discordant, independent) / (2 * examples))


def repeats_of(runs: Iterable[PastRun]) -> Dispersion:
    """What the repeats among the runs of a lineage tell other lineages about retrain noise.

    Error rates of other lineages mean nothing here, but the ratio of their variance to that of
    independent flips, phi, does. Only repeats whose flips are known count.
    """
    groups: defaultdict[tuple[str, str, int], list[PastRun]] = defaultdict(list)
    for run in runs:
        if run.recipe is not None and run.error is not None and run.error.examples:
            groups[run.recipe, run.error.split, run.error.examples].append(run)
    squares, df = 0.0, 0
    for (_, _, examples), repeats in groups.items():
        flips = [run.flips for run in repeats if run.flips]
        if len(repeats) < 2 or not flips:
            continue
        variance = sum(flips) / len(flips) / (2 * examples)
        rates = [run.error.rate for run in repeats if run.error is not None]
        mean = sum(rates) / len(rates)
        squares += sum((rate - mean) ** 2 for rate in rates) / variance
        df += len(rates) - 1
    return Dispersion(squares, df)


def compare_recipes(
    new: PastRun,
    old: PastRun,
    history: Sequence[PastRun],
    *,
    discordant: float | None,
    fleet: Dispersion = NO_REPEATS,
    prior: float | None = None,
    other_examples: bool = False,
) -> RecipeAnswer:
    """Hold the difference of two recipes against the noise between retrains.

    Repeats of a recipe under several seeds are the best source. Without any, the lately
    accepted runs of the lineage serve: their spread contains real changes too, which makes the
    answer cautious. With the predecessor alone, what other lineages of the fleet have shown
    must do. Each is shrunk towards the next, and the fleet towards a prior; with the prior
    alone there is no answer.

    Args:
        new: the retrain; its error and number of examples must be known.
        old: the baseline, likewise.
        history: runs of the lineage, in any order; may include both.
        discordant: share of common examples on which the two models disagree; None if unpaired.
        fleet: what repeats in other lineages have shown.
        prior: spread of one retrain expected beforehand, where flips do not tell it.
        other_examples: the two test sets are known to be different ones, whatever their sizes.
    """
    if new.error is None or old.error is None:
        return RecipeAnswer(Estimand(reason="a run states no error"))
    effect = new.error.rate - old.error.rate
    examples = new.error.examples
    resized = old.error.examples != examples
    if not examples or resized or other_examples:
        return _open(
            effect,
            f"the two runs were tested on different {'numbers of ' * resized}examples, so "
            "retrains cannot be told from test sets; test both on one set",
            _presumed(new, old, prior),
        )
    phi, weight = expected_phi(fleet)
    if prior is None:
        prior = prior_sd(examples, old.error.rate, discordant, phi)
    known = {run.run_id: run for run in (*history, old, new) if on_one_course(new, run)}

    repeats: defaultdict[str, list[float]] = defaultdict(list)
    for run in known.values():
        if run.recipe is not None and run.error is not None:
            repeats[run.recipe].append(run.error.rate)
    if new.recipe is not None and new.recipe == old.recipe:
        # One recipe: this pair is itself a measurement of the noise, whatever the difference.
        repeats = defaultdict(list, {k: v for k, v in repeats.items() if len(v) > 1})
        spread = pooled_spread(list(repeats.values()), prior, weight)
        return _answer(
            effect,
            spread,
            2.0,
            n=_size(repeats),
            method="one recipe, two seeds; predictive t interval",
            source="seed repeats, these two among them",
        )
    if any(len(rates) > 1 for rates in repeats.values()):
        spread = pooled_spread(list(repeats.values()), prior, weight)
        ours = repeats.get(new.recipe or "", [new.error.rate])
        theirs = repeats.get(old.recipe or "", [old.error.rate])
        return _answer(
            sum(ours) / len(ours) - sum(theirs) / len(theirs),
            spread,
            1 / len(ours) + 1 / len(theirs),
            n=(count := _size({k: v for k, v in repeats.items() if len(v) > 1})),
            source=f"{count} seed repeats",
            method="t interval with the spread of seed repeats, shrunk to a prior",
        )

    earlier = sorted(
        (run for run in known.values() if run.accepted and run.started < new.started),
        key=lambda run: run.started,
    )[-HISTORY:]
    rates = [run.error.rate for run in earlier if run.error is not None]
    if len(rates) > 1:
        return _answer(
            new.error.rate - sum(rates) / len(rates),
            pooled_spread([rates], prior, weight),
            1 + 1 / len(rates),
            n=len(rates),
            method="predictive t interval from the accepted retrains of the lineage",
            source=f"{len(rates)} accepted retrains",
        )
    return _from_fleet(effect, fleet, Spread(prior, weight), paired=discordant is not None)


def _from_fleet(
    effect: float, fleet: Dispersion, spread: Spread, *, paired: bool
) -> RecipeAnswer:
    """With what other lineages showed, where the flips are known that it is a multiple of."""
    if not (fleet.df and paired):
        return _open(
            effect,
            "one retrain of each recipe cannot tell a change from luck; train this recipe "
            "three more times with other seeds",
            spread,
        )
    return _answer(
        effect,
        spread,
        2.0,
        n=fleet.df,
        method="t interval with the spread of seed repeats in other lineages",
        source="seed repeats in other lineages",
    )


def _open(effect: float, reason: str, presumed: Spread | None) -> RecipeAnswer:
    """No answer, and what would bring one."""
    estimand = Estimand(effect=effect, n=2, reason=reason)
    return RecipeAnswer(estimand, presumed=presumed)


def _presumed(new: PastRun, old: PastRun, prior: float | None) -> Spread | None:
    """What is expected beforehand of two test sets of different sizes."""
    if (
        new.error is None
        or old.error is None
        or not (new.error.examples and old.error.examples)
    ):
        return None
    if prior is None:
        fewest = min(new.error.examples, old.error.examples)
        prior = prior_sd(fewest, old.error.rate, None)
    return Spread(prior, PRIOR_WEIGHT)


def _answer(
    effect: float, spread: Spread, inverse_n: float, *, n: int, method: str, source: str
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
    return RecipeAnswer(estimand, spread, source)


def _size(groups: dict[str, list[float]]) -> int:
    """Retrains in all groups together."""
    return sum(map(len, groups.values()))
