"""Gathers what a run says about its learning, and has it weighed."""

from typing import Final

import numpy as np

from backslide_detector.checks.batches import are_squares, spread
from backslide_detector.checks.curve import curve, falls, is_finite, trailing_nonfinite
from backslide_detector.checks.learning import Learning, State
from backslide_detector.checks.stated import (
    class_shares,
    first_loss,
    guess_cost,
    is_adversarial,
    is_averaged,
    is_lost,
    is_summed,
    is_warming_up,
    places_skill,
    predicted_error,
    recent,
    regression_fit,
    sampled_error,
    training_examples,
)
from backslide_detector.checks.weighing import Facts
from backslide_detector.evidence import RunEvidence, Series

_GAIN: Final = 0.05
_FAR_BEYOND: Final = 10.0  # typical changes from one evaluation to the next


def assess(
    run: RunEvidence,
    *,
    loss: Series | None,
    training_error: Series | None,
    validation_error: Series | None,
    validation_loss: Series | None = None,
    learning_rate: Series | None,
) -> Learning:
    """Weighs the loss against a constant guess and its start, and the error against chance."""
    shares = class_shares(run)
    shape = curve(loss) if loss is not None else None
    fit = regression_fit(run)
    facts = Facts(
        shape,
        guess=guess_cost(run),
        chance=float(1.0 - shares.max()) if shares is not None else None,
        training_error=recent(training_error),
        sampled_error=sampled_error(run, loss),
        validation_error=recent(validation_error, fallback=predicted_error(run)),
        classes=len(shares) if shares is not None else None,
        examples=training_examples(run),
        first_loss=first_loss(loss),
        summed=is_summed(loss, run),
        averaged=is_averaged(loss, run),
        regression=fit,
        gaining=_gaining(validation_loss),
        squares=are_squares(run.batches, loss),
        places=places_skill(run, loss),
        spread=None if run.batches is None else spread(run.batches, loss, single=fit is None),
    )
    if loss is not None and is_lost(loss, finished=run.finished):
        since = int(loss.steps[-trailing_nonfinite(loss)])
        sentence = f"The training loss is no longer a number since step {since}."
        return facts.answer(State.FAILING, sentence, lost=True)
    if facts.blown_up():
        return facts.answer(State.FAILING, facts.told(), skill=0.0)
    if is_warming_up(run, learning_rate, shape):
        return facts.answer(State.UNKNOWN, "The learning rate is still being warmed up.")
    answer = facts.weigh()
    if answer.failing and facts.blind and is_adversarial(run):
        return facts.answer(State.UNKNOWN, "Losses of networks that compete need not fall.")
    return answer


def _gaining(validation_loss: Series | None) -> bool:
    """Did it fall by a twentieth since its first value, and steadily (Kendall's tau)?

    A twentieth of what goes below zero means nothing: there it fell far beyond its jitter.
    """
    if validation_loss is None:
        return False
    values = validation_loss.values[is_finite(validation_loss.values)]
    if not falls(values):
        return False
    fall = float(values[0] - np.median(values[-3:]))
    if values.min() >= 0.0:
        return fall > _GAIN * float(values[0])
    late = values[len(values) // 2 :]
    return fall > _FAR_BEYOND * float(np.median(np.abs(np.diff(late))))
