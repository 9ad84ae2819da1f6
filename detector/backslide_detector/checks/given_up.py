"""Rare classes that a network never answers with while it trains, as its batches show."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from backslide_detector.checks.batches import after_a_quarter, are_classes, late
from backslide_detector.checks.learning import FEW_STEPS
from backslide_detector.evidence import Batches, DataSummary, Floats, Ints

RARE: Final = 10.0
"""So many times fewer examples than the largest class has."""
_FEW: Final = 30
_FEW_BATCHES: Final = 20
_FEW_LATE: Final = 10
_RIGHT: Final = 0.8
_TOLD: Final = 0.2
_SEVERAL: Final = 10
_SURE: Final = 3.0  # standard errors


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Rare classes that were never answered with.

    Attributes:
        classes: their numbers.
        examples: of them, in the batches that were looked at since then.
        largest: number of the commonest class.
        since: step from which on none was.
        reason: why more could be known of them, in words.
    """

    classes: tuple[int, ...]
    examples: int
    largest: int
    since: int
    reason: str


def given_up(batches: Batches, data: DataSummary | None) -> GivenUp | None:
    """Rare classes without a single answer after the first quarter, though they could be told.

    That no example of a class is likely to be of it can be right, as with clicks. One of three
    shows that it is not: the nearest training examples tell a fifth of them; or the network
    knows no more than how often each class occurs; or it knows all the others.

    Args:
        batches: of a whole run.
        data: the training data, if described.
    """
    told = [i for i, kind in enumerate(batches.answers) if kind == "classes"]
    if not are_classes(batches) or len(told) < _FEW_BATCHES:
        return None
    later = [i for i in told if batches.steps[i] >= after_a_quarter(batches.steps)]
    seen = _known(batches, told)[1]
    classes, counts = np.unique(seen, return_counts=True)
    rare = classes[counts * RARE <= counts.max(initial=0)]
    # Where most classes are rare, as words are, nobody expects to know each of them.
    if not len(rare) or 2 * len(rare) > len(classes) or len(later) < _FEW_BATCHES:
        return None
    answers, targets = _known(batches, later)
    concerned = np.isin(targets, rare)
    span = batches.steps[later[-1]] - batches.steps[later[0]]
    if span < FEW_STEPS or concerned.sum() < _FEW or np.isin(answers, rare).any():
        return None
    reason = _told_by_neighbours(data, len(classes))
    reason = reason or _nothing_known(batches, later, classes, counts)
    others = [float((answers[targets == k] == k).mean()) for k in np.setdiff1d(classes, rare)]
    if reason is None and len(classes) > 2 and min(others) >= _RIGHT:
        reason = f"of each other class {min(others):.0%} or more are right"
    if reason is None:
        return None
    return GivenUp(
        tuple(rare.astype(int).tolist()),
        int(concerned.sum()),
        int(classes[counts.argmax()]),
        int(batches.steps[later[0]]),
        reason,
    )


def _known(batches: Batches, rows: list[int]) -> tuple[Floats, Floats]:
    """Answers and targets in these batches, where the targets are known."""
    answers = np.concatenate([np.empty(0), *(batches.predictions[i] for i in rows)])
    targets = np.concatenate([np.empty(0), *(batches.targets[i] for i in rows)])
    fine = np.isfinite(targets)
    return answers[fine], targets[fine]


def _told_by_neighbours(data: DataSummary | None, classes: int) -> str | None:
    """Does a vote of the nearest win back some of the rarer of two classes?"""
    if data is None or data.nearest is None or data.nearest.error is None or classes != 2:
        return None
    counts = [count for count in data.class_counts.values() if count > 0]
    if len(counts) != 2:
        return None
    rarer = min(counts) / sum(counts)
    told = 1.0 - data.nearest.error / rarer  # found, less what is wrongly taken for one
    if told < _TOLD or told * rarer * data.nearest.examples < _SEVERAL:
        return None
    return f"a vote of the five nearest training examples tells at least {told:.0%} of them"


def _nothing_known(
    batches: Batches, rows: list[int], classes: Floats, counts: Ints
) -> str | None:
    """Is the loss, surely, at last higher than that of always answering the class shares?

    What nobody can foretell leaves it a little below. Earlier ones may be on their way down.
    """
    cost = -np.log(counts / counts.sum())
    gains = []
    since = late(batches.steps)
    for i in (row for row in rows if batches.steps[row] >= since):
        targets = batches.targets[i][np.isfinite(batches.targets[i])]
        guess = cost[np.searchsorted(classes, targets)].mean()
        gains.append(float(guess) - float(batches.numbers["loss"][i]))
    gain = np.array(gains)[np.isfinite(gains)]
    if len(gain) < _FEW_LATE:
        return None
    highest = gain.mean() + _SURE * gain.std() / np.sqrt(len(gain))
    if not highest < 0.0:
        return None
    return "the loss is higher than that of always answering the class shares"
