"""The same few examples are trained on again and again.

What it looks for:
    Fingerprints of the examples in many batches. Far fewer distinct ones than the batches drew
    and the data set has (less than a quarter of what drawing at random would show), while the
    examples within a batch differ. Where the size of the data set is not known: all batches
    hold the very same examples, from 17 to 64 of several classes, and they were learned.

Why it matters:
    The rest of the data is never seen; the network learns a handful of examples by heart.

What usually causes it:
    An iterator made anew in each step, or a seed set in each step.

What to do:
    Look at the loader: an iterator made anew in each step (`next(iter(loader))`), a seed set
    in each step, an index that does not move, a cached batch, a sampler with the wrong length.

When it is wrong:
    A data set that is no larger than a batch is in order, and so is training on one batch to
    see whether the network can learn at all. Without the size of the data set
    (`run.log_data("train", ...)`) this is reported if held-out data does much worse, or for
    classes: whoever has no more than 64 examples of them in all can say so.
    Augmented examples are never the same and cannot be counted.

References:
    Karpathy (2019), A Recipe for Training Neural Networks: overfit one batch, then move on.
"""

import numpy as np

from backslide_detector.checks.batches import are_classes, looked_at
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches
from backslide_detector.finding import Clear, Found, Severity, Skipped

_FEW_BATCHES = 10
_BATCHES = 4
_SHARE = 0.25
_DIFFERENT = 0.97
_GAP = 0.2
_A_TABLE = 16  # rows that a truth table may have
_LEARNED = 0.9


def check(batches: Batches, learning: Learning) -> Found | Clear | Skipped:
    """Compares the distinct examples with what drawing at random would show."""
    drawn = [digests for digests in batches.digests if len(digests)]
    if len(drawn) < _FEW_BATCHES or int(batches.examples.max()) < 2:
        return Skipped("fewer than ten batches of several examples were recorded")
    everything = np.concatenate(drawn)
    distinct, total = len(np.unique(everything)), len(everything)
    different = float(np.median([len(np.unique(digests)) / len(digests) for digests in drawn]))
    if different < _DIFFERENT:
        return Clear()  # examples that are equal by nature, or all the same: another check's
    rows = learning.examples
    expected = _expected(total, None if rows is None else rows * looked_at(batches))
    # Of how many they were drawn is not known: a small data set comes round as well.
    few = rows is not None or distinct <= _BATCHES * max(map(len, drawn))
    if distinct >= _SHARE * expected or not few:
        return Clear()
    text = f"{len(drawn)} batches drew {total:,} examples, but only {distinct:,} distinct ones"
    worse = _worse(learning)
    if rows is None and not (worse or _one_batch(batches, learning)):
        return Clear(f"{text}.")
    of = "" if rows is None else f" of {rows:,}"
    return Found(
        Severity.FAILING if worse or learning.failing else Severity.WARNING,
        f"{text}{of}. {learning.sentence}",
        "Look at the loader: next(iter(loader)) or a seed in each step gives the same batch."
        + (' If this is all there is, say so: run.log_data("train", ...).' if not rows else ""),
        since_step=int(batches.steps[0]),
        numbers={"distinct": float(distinct), "drawn": float(total)},
    )


def _expected(total: int, rows: float | None) -> float:
    """Distinct examples among so many drawn at random."""
    return float(total) if not rows else rows * float(-np.expm1(-total / rows))


def _one_batch(batches: Batches, learning: Learning) -> bool:
    """Do all batches hold the same examples of several classes, learned by now?

    A batch that is looked at as a whole, and larger than a truth table.
    """
    if learning.validation_skill is not None:
        return False
    held = {tuple(sorted(digests)) for digests in batches.digests}
    sizes = set(batches.examples.tolist())
    if len(held) > 1 or len(sizes) > 1 or not are_classes(batches):
        return False
    whole = len(batches.digests[0]) == sizes.pop() > _A_TABLE
    return whole and (learning.skill or 0.0) >= _LEARNED and (learning.classes or 0) > 1


def _worse(learning: Learning) -> bool:
    """Does held-out data do much worse than training?"""
    held, trained = learning.validation_skill, learning.training_skill
    if learning.generalises is False:
        return True
    return held is not None and trained is not None and trained - held > _GAP
