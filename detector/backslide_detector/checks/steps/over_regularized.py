"""Weight decay, a penalty or dropout leaves the network nothing to learn with.

What it looks for:
    In a run that fails to learn or learns poorly, one of three. Weight matrices that shrank to
    less than a tenth of their first size. Weight decay that takes a hundredth or more of each
    weight in a step, so that what is learned is gone after some dozens of steps. Dropout that
    drops more than eight in ten of its inputs.

Why it matters:
    A network whose weights are nearly zero, or are forgotten as fast as they are learned,
    answers the same to every input.

What usually causes it:
    A weight decay or penalty taken over from another optimizer, or mistyped by powers of
    ten.

What to do:
    Divide the weight decay (or the factor of the L1 or L2 term in the loss) by ten or more;
    usual values are 0.0001 for SGD and 0.01 for AdamW. Leave biases and norms out of it.
    Dropout is usually between 0.1 and 0.5.

When it is wrong:
    Weights followed by batch or layer norm may shrink freely, because their scale does not
    matter; such runs learn and are not reported. Decay is read in the first step: a schedule
    that changes it later is not seen.

References:
    Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization, ICLR. Krogh & Hertz
    (1992), A Simple Weight Decay Can Improve Generalization. Srivastava et al. (2014), Dropout,
    JMLR.
"""

import numpy as np

from backslide_detector.checks.layers import FEW_SNAPSHOTS, matrices
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory, RunEvidence
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SHRUNK = 0.1
_FAST = 0.01


def check(
    run: RunEvidence, learning: Learning, weights: LayerHistory | None = None
) -> Found | Clear | Skipped:
    """Compares each weight matrix with its first snapshot, then reads decay and dropout."""
    kept = None if weights is None else _kept(weights)
    if kept is None and not (run.shrink or run.dropping):
        return Skipped("too few snapshots of weight matrices that were finite and not zero")
    if kept is not None and kept <= _SHRUNK:
        text = f"The weight matrices shrank to {kept:.2g} of their first size"
        advice = "Divide the weight decay, or the factor of the penalty in the loss, by ten."
    elif run.shrink >= _FAST:
        text = f"Weight decay takes {run.shrink:.1%} of each weight in a step"
        advice = "Divide the weight decay by ten until the loss comes down."
    elif run.dropping:
        text = (
            f"{len(run.dropping)} dropouts drop more than 80% ({', '.join(run.dropping[:4])})"
        )
        advice = "Lower the share that is dropped: between 0.1 and 0.5 is usual."
    else:
        return Clear()
    if not learning.poor:
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        advice,
        since_step=0 if weights is None else int(weights.steps[0]),
        numbers={"shrink": run.shrink} | ({} if kept is None else {"kept": kept}),
    )


def _kept(weights: LayerHistory) -> float | None:
    """Typical size of a weight matrix at the end, as a share of its first; None if unknown."""
    chosen = matrices(weights)
    if not chosen or len(weights.steps) < FEW_SNAPSHOTS:
        return None
    first, last = weights.rms[0, chosen], weights.rms[-1, chosen]
    known = np.isfinite(first) & np.isfinite(last) & (first > 0.0)
    return float(np.median(last[known] / first[known])) if known.any() else None
