"""A network that knows more than it says.

What it looks for:
    A linear reader of the last hidden layer that answers far more probe examples rightly than
    the network's own output does.

Why it matters:
    Then the hidden layers did their work, and the fault is in the last step: a head that was
    reset, is frozen or untrained, or answers in another order of classes.

What usually causes it:
    A head that was reset, is frozen or in no optimizer, or classes in another order.

What to do:
    Look at the last layer: its weights, whether it is in the optimizer, and the order of its
    classes.

When it is wrong:
    The reader is trained on the probe examples themselves and the network is not: on examples
    unlike the training data a gap may only say that.

References:
    Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.
"""

import math

from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.inside.readout import readout
from backslide_detector.probe import Probe

_GAP = 0.1
_FAR = 4.0
"""Standard errors of a difference of two shares on the same examples, at most."""


def check(probe: Probe) -> Found | Clear | Skipped:
    """Readable accuracy of the last hidden layer minus the network's own."""
    seen = readout(probe)
    if seen is None:
        return Skipped("no accuracy on the probe batch, no classes or no hidden layer")
    error = math.sqrt(2 * 0.25 / seen.examples)
    if not seen.gap > max(_GAP, _FAR * error):
        return Clear()
    return Found(
        Severity.NOTE,
        f"A linear reader of {seen.layer} answers {seen.readable:.0%} of {seen.examples} probe "
        f"examples rightly, the network itself {seen.said:.0%}.",
        "Look at the last layer: its weights, its optimizer group, its order of classes.",
        layer=seen.layer,
        numbers={"readable": seen.readable, "accuracy": seen.said, "gap": seen.gap},
    )
