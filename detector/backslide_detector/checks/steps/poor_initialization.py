"""The weights start out far too large.

What it looks for:
    In a run that learns poorly: a loss that in the very first step is three times what a
    constant guess would cost, with outputs to match, or activations that grow more than a
    thousandfold from the first to the last layer in the first snapshot. In one that leaves a
    tenth to learn: a first loss of ten thousand constant guesses, or hidden layers of sigmoid
    or tanh whose outputs sit at their bounds before the first step.

Why it matters:
    The network begins with wrong answers that it is sure of; it has to unlearn them first,
    through saturated units and exploding gradients.

What usually causes it:
    First weights drawn with a fixed spread (a normal distribution of 1) whatever the width
    of the layer.

What to do:
    Use He initialisation for ReLU and Glorot for tanh and sigmoid, and scale the inputs to
    about zero mean and unit variance.

When it is wrong:
    A loss that is summed over the batch starts high as well; if the run learns, it is not
    reported. Without class counts only the activations are judged.

References:
    He et al. (2015), Delving Deep into Rectifiers, ICCV. Karpathy (2019), A Recipe for
    Training Neural Networks: verify the loss at the start.
"""

import numpy as np

from backslide_detector.checks.layers import at_bounds
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Floats, LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import magnitude

_GROWTH = 1e3
_LARGE = 100.0
_SURE = 3.0
_ENORMOUS = 1e4
_LEFT = 0.1


def check(
    learning: Learning, activations: LayerHistory | None = None
) -> Found | Clear | Skipped:
    """Judges the first loss, and the growth over depth in the first snapshot."""
    if learning.guess_loss is None and activations is None:
        return Skipped("neither class counts nor activations were recorded")
    parts = []
    numbers = {}
    bounds = at_bounds(activations)
    if bounds:
        parts.append(
            f"Before the first step the outputs of {', '.join(bounds[:4])} sit at their bounds"
        )
        numbers["at_bounds"] = float(len(bounds))
    sizes = np.empty(0) if activations is None else _sizes(activations)
    # A loss that is summed over the batch starts high without large outputs.
    sure = bool(sizes[-1] > _SURE) if len(sizes) else learning.failing
    if learning.bad_start and sure and learning.first_loss is not None:
        parts.append(
            f"The first loss was {learning.first_loss:.3g}, a constant guess costs "
            f"{learning.guess_loss:.3g}"
        )
        numbers["first_loss"] = learning.first_loss
    growth = float(sizes[-1] / sizes[0]) if len(sizes) > 2 else 0.0
    if growth > _GROWTH and sizes[-1] > _LARGE:
        parts.append(
            f"Activations grow {magnitude(growth)} times from the first layer to the last"
        )
        numbers["growth"] = growth
    if not parts:
        return Clear()
    text = ". ".join(parts)
    worst = bounds or _enormous(learning)
    if not (learning.poor or (worst and learning.leaves(_LEFT))):
        return Clear(f"{text}. The run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Initialise with He (ReLU) or Glorot (tanh, sigmoid), and scale the inputs.",
        since_step=0,
        numbers=numbers,
    )


def _enormous(learning: Learning) -> bool:
    """Was the first loss beyond what any sum over a batch makes of a constant guess?"""
    first, guess = learning.first_loss, learning.guess_loss
    return first is not None and guess is not None and first > _ENORMOUS * guess


def _sizes(activations: LayerHistory) -> Floats:
    """Sizes of the layers' outputs before the second step, by depth; empty when unknown."""
    sizes = activations.rms[0]
    return (
        sizes[np.isfinite(sizes) & (sizes > 0.0)] if activations.steps[0] <= 1 else np.empty(0)
    )
