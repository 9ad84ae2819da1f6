"""Training examples that a network gets wrong more often than new ones, which cannot be luck.

A network knows what it was trained on at least as well as what it never saw, if both are alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from backslide_detector.checks.batches import EARLIEST, are_classes, typical
from backslide_detector.checks.curve import is_finite
from backslide_detector.evidence import Batches, Floats, Series

_ONE_CLASS: Final = 0.95
_KNOWN: Final = 0.95
_AGAIN: Final = 0.9
_ALIKE: Final = 0.01
_POINTS: Final = 0.05
_LUCK: Final = 1e-3
_WINDOWS: Final = 3
_MOST: Final = 5_000
_FEW: Final = 100


@dataclass(frozen=True, slots=True)
class Harder:
    """Both errors, over the same stretch of training.

    Attributes:
        training: share of examples answered wrongly, each seen before.
        held_out: the same of validation data, the mean of both ends of each stretch.
        since: step from which on examples came again.
    """

    training: float
    held_out: float
    since: int


def harder(
    batches: Batches, errors: Series, counts: Mapping[str, int], examples: int | None
) -> Harder | None:
    """Compares the batches between two validations with the mean of these.

    Nothing is said where training is made harder on purpose: answers that chance moves or that
    differ from evaluation mode (dropout, batch statistics), inputs that never come again as
    they were (augmentation), targets that are no single class (mixed, smoothed), or a model
    that is not the one that was validated (averaged weights).

    Args:
        batches: of a run.
        errors: on validation data.
        counts: how often each class occurs, by name; where names are class numbers, errors
            are weighed by them, so that a sampler makes no difference.
        examples: size of the validation data; read from the errors where not known.
    """
    if not _plain(batches):
        return None
    finite = is_finite(errors.values)
    steps, values = errors.steps[finite], errors.values[finite]
    again = _again(batches)
    wrongs, held, chosen = [], [], []
    between = (values[:-1] + values[1:]) / 2.0
    for first, last, error in zip(steps[:-1], steps[1:], between, strict=True):
        rows = np.flatnonzero((batches.steps > first) & (batches.steps <= last))
        if len(rows) and again[rows].mean() >= _AGAIN:
            wrongs.append(rows)
            held.append(np.full(len(rows), error))
            chosen.append(int(first))
    if len(chosen) < _WINDOWS:
        return None
    rows = np.concatenate(wrongs)
    training = _error(batches, rows.tolist(), counts)
    if training is None:
        return None
    validation = float(np.concatenate(held).mean())
    seen = len(np.unique(np.concatenate([batches.digests[row] for row in rows])))
    spread = math.sqrt(
        training * (1.0 - training) / seen
        + validation * (1.0 - validation) / (examples or _counted(values) or _FEW)
    )
    if training - validation < max(_POINTS, norm.isf(_LUCK) * spread):
        return None
    return Harder(training, validation, chosen[0])


def _plain(batches: Batches) -> bool:
    """Is training neither helped nor hindered, and the model validated the one in training?"""
    numbers = batches.numbers
    moved = numbers["trial_eval_distance"][batches.steps >= EARLIEST]
    moved = moved[np.isfinite(moved)]
    validated = np.nansum(numbers["calls_evaluation"]) + np.nansum(numbers["calls_training"])
    one = (typical(batches, "cross_entropy") or 0.0) >= _ONE_CLASS
    return bool(
        are_classes(batches) and one and validated and len(moved) and moved.max() < _ALIKE
    )


def _again(batches: Batches) -> Floats:
    """Share of each batch's examples that were seen in an earlier one, shape (s,)."""
    known: set[int] = set()
    shares = []
    for digests in batches.digests:
        listed = digests.tolist()
        shares.append(sum(each in known for each in listed) / max(len(listed), 1))
        known.update(listed)
    return np.array(shares)


def _error(batches: Batches, rows: list[int], counts: Mapping[str, int]) -> float | None:
    """Share of wrong answers in these batches; None where too many targets are not known."""
    read = [row for row in rows if batches.answers[row] == "classes"]
    answers = np.concatenate([np.empty(0), *(batches.predictions[row] for row in read)])
    targets = np.concatenate([np.empty(0), *(batches.targets[row] for row in read)])
    told = np.isfinite(targets)
    # What is not known is mostly right and sure.
    if not told.any() or told.sum() < _KNOWN * sum(len(batches.digests[row]) for row in rows):
        return None
    wrong, targets = (answers != targets)[told], targets[told]
    weights = np.ones(len(targets))
    for label, count in counts.items():
        of_it = targets == float(label) if label.isdecimal() else np.zeros(len(targets), bool)
        if not of_it.any():
            return float(wrong.mean())
        weights[of_it] = count / of_it.sum()
    return float(np.average(wrong, weights=weights))


def _counted(errors: Floats) -> int | None:
    """The smallest number of examples of which all errors are whole shares; None without."""
    sizes = np.arange(2, _MOST)
    counts = errors[:, np.newaxis] * sizes
    whole = (np.abs(counts - np.round(counts)) < 1e-3).all(axis=0)
    return int(sizes[whole.argmax()]) if whole.any() else None
