"""Training ended before it was done.

What it looks for:
    A finished run that left more than a third of what there was to learn on its training
    data (two thirds, where no held-out error is known), whose training loss was still falling
    at the end almost as fast as before: over the second half it fell so fast (95 % interval of
    the Theil-Sen slope) that as many steps again would bring more than half of what was won so
    far. Or the validation loss, which is less noisy, fell from the first evaluation to the last
    (Kendall's tau), and hardly slower in the second half than in the first. It was at its
    lowest at the end, where there is one. Of numbers, whatever is left: both losses fell such
    that as many steps again, each quarter of the run slowing down as the last one did, would
    explain another tenth of the held-out variance.

Why it matters:
    The comparison with other runs is unfair: this one measures the budget, not the recipe.

What usually causes it:
    A budget of steps, or a schedule of the learning rate, that ended too early.

What to do:
    Train longer, or start with a larger learning rate (see learning-rate-too-low). If a
    schedule ended the run, stretch it.

When it is wrong:
    A run that is stopped early on purpose, as one of many in a search, is right to be. A loss
    without class counts, errors or predictions is not judged: language models always have
    something left.

References:
    Hoffmann et al. (2022), Training Compute-Optimal Large Language Models. Theil (1950); Sen
    (1968). Aitken (1926), On Bernoulli's Numerical Solution of Algebraic Equations.
"""

import numpy as np
from scipy.stats import theilslopes

from backslide_detector.checks.curve import Curve, falls, is_finite
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Floats, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_LEFT = 2 / 3
_LEFT_UNSEEN = 1 / 3  # where held-out data may fare far better
_STILL = 0.5
_SHORTEST = 40
_LATE = 0.75
_AS_FAST = 0.75
_QUARTERS = 4
_WORTH = 0.1
_BELOW = 10.0


def check(
    run: RunEvidence, learning: Learning, loss: Series, validation_loss: Series | None = None
) -> Found | Clear | Skipped:
    """Extrapolates the second half of the training loss."""
    shape = learning.curve
    if not run.finished:
        return Skipped("the run goes on")
    if shape is None or shape.n < _SHORTEST or learning.skill is None:
        return Skipped(f"fewer than {_SHORTEST} training losses")
    trained = learning.training_skill
    most = _LEFT if learning.validation_skill is not None else _LEFT_UNSEEN
    much = learning.skill < most and (trained or 0.0) < most
    text = _still_falling(shape, loss, validation_loss) if much else None
    text = text or _still_worth(learning, shape, validation_loss)
    # A loss that falls for ever has no floor, and says nothing of what is left to learn.
    endless = shape.final < -_BELOW * max(abs(shape.initial), 1.0)
    if text is None or learning.diverged or endless:
        return Clear()
    if not learning.measured:
        return Clear(f"{text}; without errors nobody can say how much is left to learn.")
    return Found(
        Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Train longer, or with a larger learning rate; stretch a schedule that ended the run.",
        since_step=int(shape.steps[-1]),
        numbers={"final_loss": shape.final, "skill": learning.skill},
    )


def _still_falling(shape: Curve, loss: Series, validation_loss: Series | None) -> str | None:
    """Which loss was still falling at the end, in words; None where neither was."""
    if not _lowest_late(validation_loss):
        return None
    half = len(shape.levels) // 2
    fit = theilslopes(shape.levels[half:], shape.steps[half:])
    span = float(shape.steps[-1] - shape.steps[half])
    won = shape.initial - shape.final
    # As many steps again, at the slowest rate that the second half allows for.
    ahead = -float(fit.high_slope) * float(shape.steps[-1] - loss.steps[0])
    noise = shape.noise * float(np.sqrt(len(shape.levels) / shape.n))
    if span > 0.0 and won >= 3.0 * noise and ahead >= _STILL * won:
        return (
            f"The training loss was still falling at the end: {shape.initial:.3g} → "
            f"{shape.final:.3g}, of which at least {-float(fit.high_slope) * span:.2g} came in "
            "the second half"
        )
    if (ends := _falling(validation_loss)) is None:
        return None
    return (
        "The validation loss was still falling at the end, hardly slower than before: "
        f"{ends[0]:.3g} → {ends[1]:.3g}"
    )


def _still_worth(learning: Learning, shape: Curve, held: Series | None) -> str | None:
    """What going on would explain of held-out numbers, in words; None where it is little."""
    explained = learning.validation_skill
    if learning.follows is None or explained is None or held is None:
        return None
    values = held.values[is_finite(held.values)]
    if len(values) < 2 * _QUARTERS or not falls(values) or values.argmin() < len(values) - 1:
        return None
    # The first validation costs about the variance; what is left there may be less.
    left = min(1.0 - explained, float(values[-1] / values[0]))
    gain = left * min(_ahead(values), _ahead(shape.levels))
    if gain < _WORTH:
        return None
    return (
        f"Both losses were still falling at the end, validation {values[0]:.3g} → "
        f"{values[-1]:.3g}: at this pace, as many steps again would explain another "
        f"{gain:.0%} of the variance"
    )


def _ahead(values: Floats) -> float:
    """Share of the newest level that as many values again would take off.

    What a quarter brings shrinks as it did from the third to the last one: a fall towards a
    floor (Aitken's extrapolation).

    Args:
        values: oldest first, shape (n,), four at least.
    """
    each = len(values) // _QUARTERS
    second, third, newest = np.median(values[len(values) - 3 * each :].reshape(3, each), axis=1)
    before, last = second - third, third - newest
    if before <= 0.0 or last <= 0.0 or newest <= 0.0:
        return 0.0
    slower = min(last / before, 1.0)
    brought = last * sum(slower**quarter for quarter in range(1, _QUARTERS + 1))
    return float(min(brought / newest, 1.0))


def _falling(series: Series | None) -> tuple[float, float] | None:
    """First and last value, where they fell all the while and did not slow down."""
    values = np.empty(0) if series is None else series.values[is_finite(series.values)]
    if not falls(values):
        return None
    # An even number leaves the second half a step shorter: doubt speaks for the run.
    middle = values[len(values) // 2]
    if middle - values[-1] < _AS_FAST * (values[0] - middle):
        return None
    return float(values[0]), float(values[-1])


def _lowest_late(series: Series | None) -> bool:
    """Was the lowest validation loss among the last quarter? True without one."""
    if series is None:
        return True
    values = series.values[is_finite(series.values)]
    return not len(values) or int(values.argmin()) >= int(_LATE * (len(values) - 1))
