"""The network answers differently in evaluation mode.

What it looks for:
    A few training examples, evaluated in both modes with the same weights. A loss that is at
    least twice as high in evaluation mode, by four tenths of a constant guess or more, although
    training mode has learned them, in the later trials of a run that does badly on held-out
    data. Where the loss is not known: outputs that differ by more than twice their spread over
    examples.

Why it matters:
    What is trained is not what is used: the training loss says nothing about the model that
    ships.

What usually causes it:
    Running statistics of batch norm that lag behind, or preprocessing done in one mode
    only.

What to do:
    With batch norm: use a momentum of about 0.1 (0.01 for long runs), batches of at least 16,
    and no batch norm where batches are of different kinds. Otherwise look for what depends on
    `self.training`: preprocessing, masks, scaling.

When it is wrong:
    Dropout makes training mode worse, never evaluation mode, and does not count. Running
    statistics lag in the first 50 steps: trials made there count only where there are no
    later ones, and then five times the difference is asked for. A run that does well on
    held-out data is not reported.

References:
    Ioffe & Szegedy (2015), Batch Normalization, ICML. Ben Braiek & Khomh (2023), Testing
    Feedforward Neural Networks Training Programs, ACM TOSEM.
"""

import numpy as np

from backslide_detector.checks.batches import EARLIEST, SETTLED
from backslide_detector.checks.curve import curve, is_finite
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_TIMES = 2.0
_SHARE = 0.4
_LEARNED = 0.7
_APART = 2.0
_LATEST = 3
_WELL = 0.75


def check(
    batches: Batches, learning: Learning, validation_loss: Series | None = None
) -> Found | Clear | Skipped:
    """Compares the two modes in the latest trials."""
    numbers = batches.numbers
    tried = np.isfinite(numbers["trial_eval_distance"]) & batches.training
    settled = bool((tried & (batches.steps >= SETTLED)).any())
    start = SETTLED if settled else EARLIEST
    latest = np.flatnonzero(tried & (batches.steps >= start))[-_LATEST:]
    if not len(latest):
        return Skipped("no trial was made in evaluation mode after the first steps")
    # Running statistics that still settle can double a loss, but no more.
    share, times = (_SHARE, _APART) if settled else (5 * _SHARE, 5 * _APART)
    train = numbers["trial_loss"][latest]
    held = numbers["trial_eval_loss"][latest]
    told = np.isfinite(train) & np.isfinite(held) & _is_loss(batches, learning, latest)
    if told.any():
        before, now = float(np.median(train[told])), float(np.median(held[told]))
        scale = learning.guess_loss or learning.initial_loss or abs(before)
        learned = before < _LEARNED * abs(scale)
        apart = learned and now > _TIMES * before and now - before > share * abs(scale)
        text = (
            f"On the same examples the loss is {before:.3g} in training mode and {now:.3g} in "
            "evaluation mode"
        )
    else:
        now = float(np.median(numbers["trial_eval_distance"][latest]))
        apart, before = now > times, 0.0
        text = f"In evaluation mode outputs move by {now:.2g} times their spread over examples"
    if not apart:
        return Clear()
    if not _badly(learning, validation_loss):
        return Clear(f"{text}; held-out data does well.")
    return Found(
        Severity.FAILING if learning.failing or learning.generalises is False
        else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Look for what depends on the mode: the momentum of batch norm (about 0.1 is usual), "
        "preprocessing under self.training.",
        since_step=int(batches.steps[latest[0]]),
        numbers={"training": before, "evaluation": now},
    )  # fmt: skip


def _is_loss(
    batches: Batches, learning: Learning, which: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the trials' losses are of classes, or of numbers and near the logged ones."""
    shape = learning.curve
    top = np.inf if shape is None else 2.0 * max(float(shape.levels.max()), shape.initial)
    classes = np.array([batches.answers[index] == "classes" for index in which], dtype=bool)
    return classes | (batches.numbers["trial_loss"][which] <= top)


def _badly(learning: Learning, validation_loss: Series | None) -> bool:
    """Does held-out data do badly, as far as anybody said?"""
    if learning.generalises is False or learning.failing:
        return True
    if learning.validation_skill is not None:
        return learning.validation_skill < _WELL
    training = learning.final_loss
    if validation_loss is None or training is None:
        return learning.poor
    finite = validation_loss.values[is_finite(validation_loss.values)]
    shape = curve(validation_loss)
    return shape is None or not len(finite) or shape.final > _TIMES * max(training, 0.0)
