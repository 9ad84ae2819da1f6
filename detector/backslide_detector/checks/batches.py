"""Reading the batches table: typical numbers, and which targets can be trusted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from backslide_detector.checks.curve import falls
from backslide_detector.evidence import Batches, Floats, Ints, Series

FEW: Final = 5
"""Sampled batches below which nothing is said."""

EARLIEST: Final = 16
SETTLED: Final = 50
"""From these steps on running statistics are worth a look, and have settled."""

_LOOKED_AT: Final = 64  # examples of a batch that have fingerprints
_NEARLY_ALL: Final = 0.9
_AGREES: Final = 0.05
_LATE: Final = 0.25
_ONE_ANSWER: Final = 0.02
_ONE_ANSWER_AT_ALL: Final = 1e-5
_AWAY: Final = 10.0
_ONE_HALF: Final = 0.5
_NO_RANGE: Final = 1e-30
_FAR: Final = 300.0  # spreads of the targets that an output may be away
_QUARTERS: Final = 4
_BY_CHANCE: Final = 1e-3
_LIKELY_CHANCE: Final = 0.05


def typical(batches: Batches, name: str) -> float | None:
    """Median of a column over the batches that have it; None where too few do."""
    values = batches.numbers[name]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) >= FEW else None


def one_sided(batches: Batches) -> float | None:
    """Share of the batches whose examples are all the same input; None when there are few."""
    several = [d for d in batches.digests if len(d) > 1]
    if len(several) < FEW:
        return None
    return sum(len(np.unique(d)) == 1 for d in several) / len(several)


def never_cleared(batches: Batches | None) -> int | None:
    """First step whose backward pass added to spent gradients, if nearly all others did too."""
    if batches is None:
        return None
    left = batches.numbers["uncleared"]
    known = np.isfinite(left)
    if known.sum() < FEW or float(left[known].mean()) < _NEARLY_ALL:
        return None
    return int(batches.steps[known & (left > 0.0)][0])


def dominated_since(batches: Batches | None, share: float) -> int | None:
    """First sampled step from which on one answer makes up that share of every batch."""
    if batches is None:
        return None
    tops = [np.unique(p, return_counts=True)[1].max(initial=0) for p in batches.predictions]
    below = [i for i, p in enumerate(batches.predictions) if tops[i] < share * max(len(p), 1)]
    first = below[-1] + 1 if below else 0
    return int(batches.steps[first]) if first < len(batches) else None


def looked_at(batches: Batches) -> float:
    """Share of its examples that a batch has fingerprints of."""
    sizes = np.maximum(batches.examples, 1)
    return float(np.minimum(1.0, _LOOKED_AT / sizes).mean())


def trusted(batches: Batches, loss: Series | None) -> NDArray[np.bool_]:
    """Of which batches the targets are known, shape (s,).

    Classes are, unless the loss has run away, up or below zero, and is no cross-entropy: such
    outputs stand out in some column whatever was asked of them. Numbers are if the loss that
    was logged in that step is the mean of squares that they were inferred under.
    """
    classes = np.array([kind == "classes" for kind in batches.answers], dtype=bool)
    if loss is None or not len(loss):
        return classes
    at = np.searchsorted(loss.steps, batches.steps).clip(max=len(loss) - 1)
    same = loss.steps[at] == batches.steps
    inferred, logged = batches.numbers["loss"], loss.values[at]
    away = same & (np.abs(logged) > _AWAY * max(abs(float(loss.values[0])), 1.0))
    classes &= ~away | (batches.numbers["cross_entropy"] >= _ONE_HALF)
    agrees = _agree(batches, loss)
    # Outputs that have run away leave nothing of the targets but rounding.
    spread = batches.numbers["target_high"] - batches.numbers["target_low"]
    agrees &= inferred <= np.square(_FAR * spread)
    # A sum over the batch, or over an example's numbers, leaves the targets wrong as well.
    numbers = np.array([kind in ("values", "vectors") for kind in batches.answers], dtype=bool)
    return np.asarray(classes | (numbers & agrees), dtype=np.bool_)


def _agree(batches: Batches, loss: Series) -> NDArray[np.bool_]:
    """Of which batches the loss that was logged is the mean of squares, shape (s,)."""
    at = np.searchsorted(loss.steps, batches.steps).clip(max=len(loss) - 1)
    same = loss.steps[at] == batches.steps
    logged = loss.values[at]
    apart = np.abs(batches.numbers["loss"] - logged)
    return np.asarray(same & (apart <= _AGREES * np.abs(logged)), dtype=np.bool_)


def known_targets(batches: Batches, loss: Series | None) -> Iterator[tuple[int, Floats]]:
    """Index and known targets of each batch that has any."""
    for index in np.flatnonzero(trusted(batches, loss)).tolist():
        targets = batches.targets[index]
        targets = targets[np.isfinite(targets)]
        if len(targets):
            yield index, targets


def classes_join(batches: Batches) -> bool:
    """Do classes come in that the first quarter did not hold, beyond chance (0.1 %)?"""
    if not are_classes(batches):
        return False
    pairs = zip(batches.targets, batches.answers, strict=True)
    known = [t[np.isfinite(t)] for t, kind in pairs if kind == "classes"]
    begun = len(known) // _QUARTERS
    first, later = (
        np.concatenate([*part, np.empty(0)]) for part in (known[:begun], known[begun:])
    )
    classes, counts = np.unique(later, return_counts=True)
    new = counts[~np.isin(classes, first)].sum()
    return bool(new) and bool((1.0 - new / len(later)) ** len(first) < _BY_CHANCE)


def targets_left(batches: Batches, loss: Series | None) -> float | None:
    """Spread of the newest targets over that of the first; None where few are known.

    The targets of a data set stay as they are; those made of answers go with these. Where a few
    examples make most of the spread, batches differ by chance: 1 unless it falls steadily.
    """
    wanted = batches.numbers["target_spread"]
    sure = trusted(batches, loss) & np.isfinite(wanted) & (batches.examples > 1)
    if sure.sum() < 2 * FEW:
        return None
    if not falls(wanted[sure]):
        return 1.0
    first, last = np.median(wanted[sure][:FEW]), np.median(wanted[sure][-FEW:])
    return float(last / first) if first > 0.0 else None


def newest(batches: Batches, loss: Series | None) -> slice:
    """The batches of the last quarter of the steps, at least five; none where losses go on."""
    since = late(batches.steps)
    if loss is not None and len(loss) and batches.steps[-1] < late(loss.steps):
        return slice(0, 0)
    return slice(
        min(int(np.searchsorted(batches.steps, since)), max(0, len(batches) - FEW)), None
    )


def late(steps: Ints) -> float:
    """Where the last quarter of the steps begins."""
    return float(steps[-1] - _LATE * (steps[-1] - steps[0]))


def after_a_quarter(steps: Ints) -> float:
    """Where the first quarter of the steps ends."""
    return float(steps[0] + _LATE * (steps[-1] - steps[0]))


@dataclass(frozen=True, slots=True)
class Spread:
    """How far apart answers and targets that are numbers were in the newest batches.

    Attributes:
        explained: share of the targets' variance (R²); None where the loss is no mean of
            squares, so that nothing is known of the targets but that they differ.
        ratio: spread of the answers over that of the targets, over their own range without it.
        variance: of the targets, what the best constant answer costs; None as above.
        follows: of one number an example, whether answers go with the targets beyond chance
            (correlation above zero, one-sided 5 %); None of several.
    """

    explained: float | None
    ratio: float
    variance: float | None
    follows: bool | None = None

    @property
    def constant(self) -> bool:
        """Do all examples get the same answer? Without targets only rounding may differ."""
        return self.ratio < (_ONE_ANSWER if self.explained is not None else _ONE_ANSWER_AT_ALL)


def spread(batches: Batches, loss: Series | None, *, single: bool = False) -> Spread | None:
    """Of several numbers an example, where inputs differ; None where too little is known.

    Args:
        batches: what was sampled.
        loss: training loss.
        single: one number an example counts as well, and inputs may be alike.
    """
    newer = newest(batches, loss)
    numbers = batches.numbers
    apart, wanted = numbers["output_spread"][newer], numbers["target_spread"][newer]
    kinds = ("vectors", "values") if single else ("vectors",)
    vectors = np.array([kind in kinds for kind in batches.answers[newer]], dtype=bool)
    distinct = np.array([len(np.unique(d)) > 1 for d in batches.digests[newer]], dtype=bool)
    known = vectors & np.isfinite(apart) & (wanted > 0.0) & np.isfinite(wanted)
    if not single:
        known &= distinct
    if known.sum() < FEW:
        return None
    sure = known & trusted(batches, loss)[newer]
    if loss is not None and 2 * sure.sum() < known.sum():
        # What rounding adds to targets makes answers that ran away look better than they are.
        sure = known & _agree(batches, loss)[newer]
    if 2 * sure.sum() < known.sum():
        known &= distinct
        if known.sum() < FEW:
            return None
        ends = (numbers["output_high"] - numbers["output_low"])[newer][known]
        return Spread(None, float(np.median(apart[known] / np.fmax(ends, _NO_RANGE))), None)
    costs = np.square(wanted[sure])
    left = float(np.median(numbers["loss"][newer][sure] / costs))
    apart = np.where(distinct, apart, np.nan)  # equal inputs get equal answers
    ratio = float(np.median(apart[sure] / wanted[sure]))
    rows = np.arange(len(batches))[newer][sure].tolist()
    follows = _follow(batches, [i for i in rows if batches.answers[i] == "values"])
    variance = float(np.median(costs))
    if follows is not None:
        # In the order of time, numbers vary less within a batch than over the run.
        variance = max(variance, _variance(batches, trusted(batches, loss)))
        left = float(np.median(numbers["loss"][newer][sure])) / variance
    return Spread(1.0 - left, ratio, variance, follows)


def _variance(batches: Batches, which: NDArray[np.bool_]) -> float:
    """Of the targets of these batches together; 0 without any."""
    targets = np.concatenate(
        [batches.targets[i] for i in np.flatnonzero(which)] or [np.empty(0)]
    )
    return float(np.nanvar(targets)) if np.isfinite(targets).any() else 0.0


def _follow(batches: Batches, rows: list[int]) -> bool | None:
    """Do answers of these batches go with their targets? None without any batch."""
    if not rows:
        return None
    answers, targets = (
        np.concatenate([column[i] for i in rows])
        for column in (batches.predictions, batches.targets)
    )
    known = np.isfinite(answers) & np.isfinite(targets)
    answers, targets = answers[known], targets[known]
    if len(answers) < FEW or np.ptp(answers) == 0.0 or np.ptp(targets) == 0.0:
        return False
    return bool(pearsonr(answers, targets, alternative="greater").pvalue < _LIKELY_CHANCE)


def are_squares(batches: Batches | None, loss: Series | None) -> bool | None:
    """Is the loss of these numbers a mean of squares? None where that is not known."""
    if batches is None or loss is None:
        return None
    numbers = np.array([kind in ("values", "vectors") for kind in batches.answers], dtype=bool)
    if numbers.sum() < FEW:
        return None
    return 2 * int(trusted(batches, loss)[numbers].sum()) > int(numbers.sum())


def are_classes(batches: Batches) -> bool:
    """Are the answers classes in most batches?"""
    return 2 * sum(kind == "classes" for kind in batches.answers) > len(batches)
