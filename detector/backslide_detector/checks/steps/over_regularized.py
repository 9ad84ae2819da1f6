"""Weight decay pulls the network to zero.

What it looks for:
    Weight matrices that shrank to less than a tenth of their first size, in a run that
    fails to learn or learns poorly.

Why it matters:
    A network whose weights are nearly zero answers the same to every input.

What to do:
    Divide the weight decay (or the factor of the L1 or L2 term in the loss) by ten or more;
    usual values are 0.0001 for SGD and 0.01 for AdamW. Leave biases and norms out of it.

When it is wrong:
    Weights followed by batch or layer norm may shrink freely, because their scale does not
    matter; such runs learn and are not reported.

References:
    Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization, ICLR. Krogh & Hertz
    (1992), A Simple Weight Decay Can Improve Generalization.
"""

import numpy as np

from backslide_detector.checks.layers import FEW_SNAPSHOTS, matrices
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SHRUNK = 0.1


def check(weights: LayerHistory, learning: Learning) -> Found | Clear | Skipped:
    """Compares each weight matrix with its first snapshot."""
    chosen = matrices(weights)
    if not chosen or len(weights.steps) < FEW_SNAPSHOTS:
        return Skipped("too few snapshots of weight matrices")
    first, last = weights.rms[0, chosen], weights.rms[-1, chosen]
    known = np.isfinite(first) & np.isfinite(last) & (first > 0.0)
    if not known.any():
        return Skipped("the weights were not finite, or zero from the start")
    kept = float(np.median(last[known] / first[known]))
    if kept > _SHRUNK:
        return Clear()
    text = f"The weight matrices shrank to {kept:.2g} of their first size"
    if not learning.poor:
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Divide the weight decay, or the factor of the penalty in the loss, by ten or more.",
        since_step=int(weights.steps[0]),
        numbers={"kept": kept},
    )
