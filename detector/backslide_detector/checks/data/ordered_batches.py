"""The batches come in the order of their targets.

What it looks for:
    Targets that are much more alike within a batch than over the run: of classes, the chance
    that two examples of a batch share theirs, and of numbers, the variance within batches, on
    a scale from 0 (shuffled) to 1 (one target a batch). Above 0.5, in a run that learns poorly;
    above 0.8, where hardly a batch holds two classes, in one that leaves a twentieth to learn,
    or throughout a run of which only the training loss is known;
    above 0.95, where numbers also rise (or fall) from each batch to the next, in one that
    leaves more than a seventh.

Why it matters:
    Each stretch of batches teaches one answer and forgets the one before.

What usually causes it:
    Files sorted by class and a loader that does not shuffle.

What to do:
    Shuffle: `DataLoader(..., shuffle=True)`; for streams, a shuffle buffer larger than the
    stretches.

When it is wrong:
    Series in the order of time, batches bucketed by length and curricula are alike within as
    well: a run that learns is not reported, and numbers only if hardly anything was learned, or
    if a quarter is left to learn and batches are as alike as sorted ones (above 0.95).
    Targets are read from gradients; where the loss hides them nothing is said.

References:
    Bengio (2012), Practical Recommendations for Gradient-Based Training of Deep Architectures:
    shuffling. The scale is the intraclass correlation: Fisher (1925), Statistical Methods for
    Research Workers.
"""

import numpy as np

from backslide_detector.checks.batches import FEW, are_classes, known_targets
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_ORDERED = 0.5
_FEW_EXAMPLES = 4
_HARDLY = 0.3
_PURE = 0.8
_SORTED = 0.95
_ALMOST_ALL = 0.95
_SEVENTH = 1 / 7
_PAIRS = 20
_ALWAYS = 0.9


def check(
    batches: Batches, learning: Learning, loss: Series | None = None
) -> Found | Clear | Skipped:
    """Compares targets within batches with those of all."""
    groups = [
        targets for _, targets in known_targets(batches, loss) if len(targets) >= _FEW_EXAMPLES
    ]
    if len(groups) < FEW:
        return Skipped("the targets of fewer than five batches are known")
    classes = are_classes(batches)
    alike = _alike_classes(groups) if classes else _alike_numbers(groups)
    if alike is None:
        return Skipped("all targets are the same")
    if alike < _ORDERED:
        return Clear()
    text = f"Targets within a batch are alike ({alike:.2f} on a scale from 0 to 1)"
    skill = learning.skill if learning.validation_skill is None else learning.validation_skill
    if classes:
        pure = alike >= _PURE and skill is not None and skill < _ALMOST_ALL
        # Of one class at a time, each is learned while it lasts: no loss tells what is kept.
        pure |= learning.validation_skill is None and _pure_throughout(groups)
        bad = learning.poor or pure
    else:
        # Numbers in the order of time are alike too, but hardly ever as much as sorted ones.
        bad = learning.failing or (skill is not None and skill < _HARDLY)
        bad |= alike >= _SORTED and (
            learning.lags or (learning.leaves(_SEVENTH) and _sorted(batches, loss))
        )
    if not bad:
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}: the batches come in order. {learning.sentence}",
        "Shuffle the training data: DataLoader(..., shuffle=True).",
        since_step=int(batches.steps[0]),
        numbers={"alike": alike},
    )


def _sorted(batches: Batches, loss: Series | None) -> bool:
    """Do targets go up (or down) from nearly every batch to the next?"""
    at = {int(batches.steps[i]): float(t.mean()) for i, t in known_targets(batches, loss)}
    ups = [at[step + 1] > mean for step, mean in at.items() if step + 1 in at]
    share = float(np.mean(ups)) if len(ups) >= _PAIRS else 0.5
    return max(share, 1.0 - share) >= _ALWAYS


def _alike_classes(groups: list[Floats]) -> float | None:
    """How far the chance of sharing a class within a batch is above that over all."""
    within = []
    for targets in groups:
        counts, size = np.unique(targets, return_counts=True)[1], len(targets)
        within.append(float((counts * (counts - 1)).sum()) / (size * (size - 1)))
    every = np.concatenate(groups)
    shares = np.unique(every, return_counts=True)[1] / len(every)
    overall = float(np.square(shares).sum())
    return None if overall >= 1.0 else (float(np.mean(within)) - overall) / (1.0 - overall)


def _pure_throughout(groups: list[Floats]) -> bool:
    """Does hardly a batch hold two classes, in both halves of the run?"""
    middle = len(groups) // 2
    halves = groups[:middle], groups[middle:]
    return middle >= FEW and all((_alike_classes(half) or 0.0) >= _PURE for half in halves)


def _alike_numbers(groups: list[Floats]) -> float | None:
    """Share of the variance that lies between batches."""
    overall = float(np.concatenate(groups).var())
    within = float(np.mean([targets.var(ddof=1) for targets in groups]))
    return None if overall <= 0.0 else 1.0 - within / overall
