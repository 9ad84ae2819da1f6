"""The training loss swings instead of settling.

What it looks for:
    Medians of many steps that jump up and down by a twentieth of what there is to learn, and by
    almost twice what the noise of the batches explains, in a run that learns poorly. Or a loss
    that had come down and then lost a quarter of what there is to learn again, far beyond that
    noise.

Why it matters:
    The weights jump across the valley and never reach its floor; which state the run ends in
    is luck.

What usually causes it:
    A learning rate or momentum that is too high for the end of the training, or batches
    that differ from each other, for want of shuffling.

What to do:
    Divide the learning rate by three to ten, lower the momentum or clip the gradients. If the
    swings repeat with each epoch, shuffle the data. Keep the weights of the best validation
    step meanwhile.

When it is wrong:
    Small batches make single losses noisy: windows are compared, not steps. A cyclic learning
    rate swings the loss on purpose: where a logged rate rises again after a fall this is a
    note. So is a curriculum: where classes come in that the first quarter did not hold, what
    they cost comes in with them. Adversarial and reinforcement losses have no level to settle
    at: without an error, class counts or predictions it is a note, too. A loss that only rises
    is another matter (learning-rate-too-high).

References:
    Smith (2017), Cyclical Learning Rates for Training Neural Networks. Zhang et al. (2021),
    AutoTrainer (ICSE), symptom "oscillating loss".
"""

import math

import numpy as np

from backslide_detector.checks.batches import classes_join
from backslide_detector.checks.curve import Curve, is_finite
from backslide_detector.checks.learning import FEW_STEPS, Learning
from backslide_detector.evidence import Batches, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SWING = 0.05
_NOISES = 1.8
_LOST = 0.25
_LOST_NOISES = 5.0
_FEW_WINDOWS = 12


def check(
    loss: Series,
    learning: Learning,
    *,
    learning_rate: Series | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Compares windows of the training loss with each other and with their noise."""
    shape = learning.curve
    if shape is None or shape.n < FEW_STEPS or len(shape.levels) < _FEW_WINDOWS:
        return Skipped("fewer than 100 training losses")
    if learning.diverged or shape.initial <= 0.0 or shape.levels.min() < 0.0:
        return Clear()
    scale = max(shape.initial, learning.guess_loss or 0.0)
    noise = _noise(loss, shape)
    first = len(shape.levels) // 4
    swing = _swing(shape.levels[first:])
    swings = swing > max(_SWING * scale, _NOISES * noise) and learning.poor
    lost = shape.final - shape.best > max(_LOST * scale, _LOST_NOISES * noise)
    if not (swings or lost):
        return Clear()
    text = (
        f"The training loss had come down to {shape.best:.3g} and ends at {shape.final:.3g}"
        if lost
        else f"Windows of {shape.n // len(shape.levels)} training losses swing by {swing:.2g} "
        f"between {shape.levels[first:].min():.3g} and {shape.levels[first:].max():.3g}"
    )
    text += f"; the noise of the batches explains {noise:.1g}"
    if (harmless := _harmless(learning, learning_rate, batches)) is not None:
        return Clear(f"{text}. {harmless}")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Divide the learning rate by three to ten or clip the gradients; if the swings repeat "
        "with each epoch, shuffle the data.",
        since_step=shape.best_step if lost else int(shape.steps[first]),
        numbers={
            "best": shape.best,
            "final": shape.final,
            "swing": swing,
            "noise": noise,
        },
    )


def _harmless(
    learning: Learning, learning_rate: Series | None, batches: Batches | None
) -> str | None:
    """What else may swing a loss, in a sentence; None where nothing is known to."""
    if _cyclic(learning_rate):
        return "The learning rate rises and falls as well."
    if batches is not None and classes_join(batches):
        return "New classes come into the batches as well."
    if learning.guess_loss is None and learning.validation_skill is None:
        return "Without errors nobody can say whether that matters."
    return None


def _swing(levels: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Spread of independent levels that would differ as much; rises and falls must be level."""
    changes = np.diff(levels)
    up, down = changes.clip(min=0.0).sum(), -changes.clip(max=0.0).sum()
    return float(2.0 * min(up, down) / len(changes)) * math.sqrt(math.pi) / 2.0


def _noise(loss: Series, shape: Curve) -> float:
    """Standard error of a window's median, from how much successive losses differ."""
    values = loss.values[is_finite(loss.values)]
    single = 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2.0)
    return 1.25 * single * math.sqrt(len(shape.levels) / shape.n)


def _cyclic(rate: Series | None) -> bool:
    """Does the learning rate rise again after it has fallen?"""
    if rate is None or len(rate) < 4:
        return False
    moves = np.sign(np.diff(rate.values))
    moves = moves[moves != 0.0]
    return bool(((moves[:-1] < 0) & (moves[1:] > 0)).any())
