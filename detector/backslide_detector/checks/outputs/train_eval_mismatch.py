"""The network answers differently in evaluation mode.

What it looks for:
    A few training examples, evaluated in both modes with the same weights. A loss that is at
    least twice as high in evaluation mode, by four tenths of a constant guess or more, although
    training mode has learned them (three tenths below that guess; a twentieth, where evaluation
    mode costs more than twice as much as guessing), in the later trials of a run that does
    badly on held-out data. Where the loss is not known: outputs that differ by more than twice
    their spread over examples. Or: all calls of the model without gradients that were seen
    (validations) came in training mode, in a network that answers differently in it, and what
    was logged is worse than what evaluation mode reaches. Or: random numbers that move its
    answers in evaluation mode by half of their spread over examples, in a run that leaves a
    sixth to learn.

Why it matters:
    What is trained is not what is used: the training loss says nothing about the model that
    ships.

What usually causes it:
    Running statistics of batch norm that lag behind, preprocessing done in one mode only, a
    forgotten `model.eval()`, or `F.dropout(x)` without `training=self.training`.

What to do:
    With batch norm: use a momentum of about 0.1 (0.01 for long runs), batches of at least 16,
    and no batch norm where batches are of different kinds. Otherwise look for what depends on
    `self.training`: preprocessing, masks, scaling. Call `model.eval()` before each validation
    and `model.train()` after it.

When it is wrong:
    Dropout makes training mode worse, never evaluation mode, and does not count where it is
    off there. Who samples answers on purpose (dropout left on, several calls on the same inputs
    averaged) is not reported, nor are answers of several numbers (an autoencoder's). Running
    statistics lag in the first 50 steps: trials made there count only where there are no
    later ones, and then five times the difference is asked for. A run that does well on
    held-out data is not reported.

References:
    Ioffe & Szegedy (2015), Batch Normalization, ICML. Ben Braiek & Khomh (2023), Testing
    Feedforward Neural Networks Training Programs, ACM TOSEM.
"""

import math
from collections.abc import Mapping

import numpy as np

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import EARLIEST, SETTLED
from backslide_detector.checks.curve import curve, is_finite, latest
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, Predictions, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_TIMES = 2.0
_SHARE = 0.4
_LEARNED = 0.7
_BEGUN = 0.95
_APART = 2.0
_LATEST = 3
_WELL = 0.75
_MOVED = 0.3
_BETTER = 0.8
_WORSE_ERROR = 0.05
_WORSE_LOSS = 1.5
_SURE = 4.0  # standard errors
_CHANCE = 0.5
_LEFT = 1 / 6


def check(
    batches: Batches,
    learning: Learning,
    validation_loss: Series | None = None,
    validation_error: Series | None = None,
    predictions: Mapping[str, Predictions] | None = None,
) -> Found | Clear | Skipped:
    """Compares the two modes in the latest trials, then how the model was validated."""
    found = _modes(batches, learning, validation_loss)
    if isinstance(found, Found):
        return found
    forgotten = _forgotten(batches, validation_loss, validation_error, predictions or {})
    return forgotten or _by_chance(batches, learning) or found


def _forgotten(
    batches: Batches,
    validation_loss: Series | None,
    validation_error: Series | None,
    predictions: Mapping[str, Predictions],
) -> Found | None:
    """Validations in training mode, that look worse for it."""
    seen, fair, again = (
        np.nansum(batches.numbers[f"calls_{kind}"])
        for kind in ("training", "evaluation", "again")
    )
    moved = _last(batches, "trial_eval_distance")
    if not 0 < seen < math.inf or fair or again or not len(moved) or moved[-1] < _MOVED:
        return None
    chosen = held_out(predictions)
    table = None if chosen is None or chosen[0].startswith("train") else chosen[1]
    error, loss = latest(validation_error), latest(validation_loss)
    training, evaluation = _last(batches, "trial_loss"), _last(batches, "trial_eval_loss")
    if table is not None and table.are_labels and error is not None:
        spread = math.sqrt(max(error * (1.0 - error), 1e-4) / len(table))
        worse = error - table.error > max(_WORSE_ERROR, _SURE * spread)
        text = f"the error logged is {error:.1%}, and {table.error:.1%} in evaluation mode"
    elif table is not None and not table.are_labels and loss is not None:
        reached = float(table.losses.mean())
        worse = loss > _WORSE_LOSS * reached
        text = f"the loss logged is {loss:.3g}, and {reached:.3g} in evaluation mode"
    else:
        worse = len(evaluation) > 1 and evaluation.mean() < _BETTER * training.mean()
        text = (
            f"on the same training examples the loss is {training.mean():.3g} in training mode "
            f"and {evaluation.mean():.3g} in evaluation mode"
        )
    if not worse:
        return None
    return Found(
        Severity.WARNING,
        f"All {seen:.0f} calls of the model without gradients that were seen came in training "
        f"mode: {text}.",
        "Call model.eval() before each validation, and model.train() after it.",
        since_step=int(batches.steps[batches.numbers["calls_training"] > 0][0]),
        numbers={"calls": float(seen)},
    )


def _by_chance(batches: Batches, learning: Learning) -> Found | None:
    """Answers that differ from one evaluation to the next."""
    noise = _last(batches, "trial_noise")
    single = sum(kind in ("classes", "values") for kind in batches.answers)
    sampled = np.nansum(batches.numbers["calls_again"]) > 0
    if not len(noise) or noise[-1] < _CHANCE or sampled or 2 * single < len(batches):
        return None
    if not learning.leaves(_LEFT):
        return None
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        "Two evaluations of the same examples in evaluation mode differ by "
        f"{noise[-1]:.0%} of the spread between examples: chance decides. {learning.sentence}",
        "Give F.dropout training=self.training, or use nn.Dropout; noise belongs into training "
        "alone. Who samples on purpose takes the mean of many answers.",
        since_step=int(batches.steps[np.isfinite(batches.numbers["trial_noise"])][0]),
        numbers={"noise": float(noise[-1])},
    )


def _last(batches: Batches, name: str) -> Floats:
    """A column in the latest trials, none of the first steps."""
    values = batches.numbers[name][batches.steps >= EARLIEST]
    return values[np.isfinite(values)][-_LATEST:]


def _modes(
    batches: Batches, learning: Learning, validation_loss: Series | None
) -> Found | Clear | Skipped:
    """The same examples in both modes."""
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
        # Half-way, evaluation mode must be worse than knowing nothing, twice over.
        learned = before < (_LEARNED if now < _TIMES * abs(scale) else _BEGUN) * abs(scale)
        apart = learned and now > _TIMES * before and now - before > share * abs(scale)
        # Statistics that lagged behind a fast start may have caught up by the newest trial.
        apart &= bool(held[told][-1] > _TIMES * train[told][-1])
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
    kinds = ("classes", "dense")
    classes = np.array([batches.answers[index] in kinds for index in which], dtype=bool)
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
