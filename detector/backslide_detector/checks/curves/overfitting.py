"""The network learns its training data by heart.

What it looks for:
    A validation loss that passed its lowest point and has since risen for at least three
    evaluations, by at least a fifth and by at least 5 % of what there was to learn (the
    loss of a constant guess), while the training loss is below half of it. Where no error on
    held-out data says more than the loss, the lowest point and the rise must each be a quarter
    of that guess, or of the first loss. Or a validation error that rose from its lowest point
    by five in a hundred or more, beyond chance (Kendall's tau, 1 %), while the training loss
    fell to less than half: the validation loss may jump too much to show it.

Why it matters:
    From the lowest point on, training made the model worse on new data.

What usually causes it:
    More capacity or more epochs than the data can fill.

What to do:
    Keep the weights of the best validation step (early stopping). Then more data or
    augmentation, weight decay or dropout, or a smaller network. If validation is no better
    than chance, suspect the labels.

When it is wrong:
    The validation loss can rise while the error stays: the model grows overconfident, not
    worse. With a validation error that is no higher than at the lowest loss (by a tenth of
    chance), and leaves less than a quarter to learn, this is a note. Single epochs
    never count, and dropout and augmentation make the training loss look worse than it is,
    never better.

References:
    Prechelt (1998), Early Stopping - But When? Guo et al. (2017), On Calibration of Modern
    Neural Networks, ICML: loss and error part company.
"""

import numpy as np
from scipy.stats import kendalltau

from backslide_detector.checks.curve import Curve, curve, is_finite, rise
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_PATIENCE = 3
_RISE = 1.2
_SHARE = 0.05
_QUARTER = 0.25
_WORSE = 0.1
_NEVER = (
    "No step is worth keeping for its loss. If it is the same mean as in training, compare the "
    "preprocessing and the labels of both splits; of few examples, collect more."
)


def check(
    loss: Series,
    validation_loss: Series,
    learning: Learning,
    validation_error: Series | None = None,
) -> Found | Clear | Skipped:
    """Compares the recent validation loss with its lowest level, and with the training loss."""
    finite = is_finite(validation_loss.values)
    values, steps = validation_loss.values[finite], validation_loss.steps[finite]
    training = curve(loss)
    if len(values) < 2 * _PATIENCE or training is None:
        return Skipped("fewer than six validation losses")
    best = int(values.argmin())
    after = values[best:]
    now = float(np.median(values[-_PATIENCE:]))
    lowest = float(values[best])
    scale = learning.guess_loss or abs(training.initial)
    rising = (
        len(after) > _PATIENCE
        and now > _RISE * lowest
        and now - lowest > _SHARE * scale
        and (_known(learning, validation_error) or _plainly(lowest, now, scale))
        and training.final < 0.5 * now
        and _trend(after) > 0.0
    )
    if not rising:
        return _unlearned(training, validation_error) or Clear()
    text = (
        f"The validation loss rose from {lowest:.3g} at step {steps[best]} to {now:.3g}, while "
        f"the training loss is {training.final:.3g}"
    )
    if validation_error is not None and learning.chance and not learning.lags:
        error = float(np.median(validation_error.values[-3:]))
        if error - _at(validation_error, int(steps[best])) < _WORSE * learning.chance:
            return Clear(f"{text}; the validation error stays low ({error:.1%}).")
    chance, guess = learning.generalises is False, learning.guess_loss
    advice = (
        f"Keep the weights of step {steps[best]}; then more data, augmentation or weight decay."
    )
    if chance:
        text += ". On validation data it is no better than chance"
        advice = (
            "Check that inputs and labels belong together: what is learned does not carry over."
        )
    elif guess is not None and lowest > guess:
        text += f"; it was never below what guessing costs ({guess:.3g})"
        advice = _NEVER
    return Found(
        Severity.FAILING if chance else Severity.WARNING,
        f"{text}.",
        advice,
        since_step=int(steps[best]),
        numbers={"lowest": lowest, "now": now, "training": training.final},
    )


def _unlearned(training: Curve, errors: Series | None) -> Found | None:
    """Does the validation error rise, plainly, while the training loss halves?

    The loss may hide it: it is noisy, and falls where the network grows surer of the rest.
    """
    risen = None if errors is None else rise(errors)
    if risen is None:
        return None
    then = float(np.interp(risen.step, training.steps, training.levels))
    if training.final >= 0.5 * then:
        return None
    return Found(
        Severity.WARNING,
        f"The validation error rose from {risen.lowest:.1%} at step {risen.step} to "
        f"{risen.now:.1%} lately, while the training loss fell from {then:.3g} to "
        f"{training.final:.3g}.",
        f"Keep the weights of step {risen.step}; look at the training examples of the largest "
        "loss, whose labels may be wrong; then more data, augmentation or weight decay.",
        since_step=risen.step,
        numbers={"lowest": risen.lowest, "now": risen.now, "training": training.final},
    )


def _known(learning: Learning, validation_error: Series | None) -> bool:
    """Is it known how often the network errs on held-out data?"""
    return learning.validation_error is not None or validation_error is not None


def _plainly(lowest: float, now: float, scale: float) -> bool:
    """Is it more than growing confidence, which a loss alone does not tell from errors?"""
    return min(lowest, now - lowest) > _QUARTER * scale


def _at(series: Series, step: int) -> float:
    """Median of the three values around a step."""
    place = int(np.searchsorted(series.steps, step).clip(1, max(len(series) - 2, 1)))
    return float(np.median(series.values[place - 1 : place + 2]))


def _trend(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Mann-Kendall on at most 40 block medians: Kendall's tau if p < 0.05, else 0."""
    blocks = np.array_split(values, min(len(values), 40))
    levels = [float(np.median(block)) for block in blocks]
    result = kendalltau(np.arange(len(levels)), levels, alternative="greater")
    # Four points in strict order reach p = 0.042, the least evidence accepted.
    return float(result.statistic) if result.pvalue < 0.05 else 0.0
