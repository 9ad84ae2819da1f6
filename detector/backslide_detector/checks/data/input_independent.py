"""The answers do not depend on the inputs.

What it looks for:
    One of two, in a run that does not learn. All examples of a batch are the same input, in
    nearly all batches (in one that learns, held-out data must leave a quarter to learn). Or: in
    an extra evaluation in the first steps, examples were replaced by others and the output did
    not change, because the inputs get lost at once, in front of a layer whose weights are in
    order.

Why it matters:
    The best that such a network can do is to answer with the average.

What usually causes it:
    A variable that is overwritten or multiplied by zero, or a placeholder left in from a
    test.

What to do:
    Follow one batch from the loader to the layer named here: a variable that is overwritten,
    a product with zero, a wrong index, `expand` in place of the batch, noise or a placeholder
    that was meant for a test.

When it is wrong:
    Where units died or all weights are zero the output is constant too; those are other checks,
    and the loss of the inputs is then gradual or sits in the activation. A fixed input can be
    right when the network itself is what is fitted (a deep image prior): such a run learns.

References:
    Karpathy (2019), A Recipe for Training Neural Networks: input-independent baseline. Ben
    Braiek & Khomh (2023), Testing Feedforward Neural Networks Training Programs, ACM TOSEM.
"""

import numpy as np

from backslide.contract import ZERO_BIN
from backslide_detector.checks.batches import one_sided
from backslide_detector.checks.layers import matrices, share_beyond
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Batches, LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped

_ALL = 0.95
_UNCHANGED = 1e-5
_EARLY = 64
_FAR = 2.0
_TINY = 1e-3
_HARDLY = 0.01


def check(
    batches: Batches,
    learning: Learning,
    *,
    activations: LayerHistory | None = None,
    weights: LayerHistory | None = None,
) -> Found | Clear | Skipped:
    """Compares the examples of each batch, then reads the trials of the first steps."""
    same = one_sided(batches)
    dependence = batches.numbers["dependence"]
    tried = np.flatnonzero(np.isfinite(dependence) & (batches.steps <= _EARLY))
    if same is None and not len(tried):
        return Skipped("no batch of several examples was recorded")
    layer = None
    if same is not None and same >= _ALL:
        text = f"In {same:.0%} of {len(batches)} batches all examples are the same input"
        step, share = int(batches.steps[0]), same
    elif len(tried) and (found := _lost(batches, int(tried[0]), activations, weights)):
        layer, step, share = found, int(batches.steps[tried[0]]), float(dependence[tried[0]])
        text = (
            f"Replacing examples by others changed the output by {share:.1g} of its size "
            f"at step {step}: the inputs do not get to {layer!r}"
        )
    else:
        return Clear()
    carries_over = not (learning.generalises is False or learning.lags)
    if learning.state is State.LEARNING and (carries_over or layer is not None):
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Follow one batch from the loader to the first layer: the inputs are overwritten, "
        "multiplied by zero, or not used.",
        layer=layer,
        since_step=step,
        numbers={"share": share},
        stop=learning.failing,
    )


def _lost(
    batches: Batches,
    index: int,
    activations: LayerHistory | None,
    weights: LayerHistory | None,
) -> str | None:
    """The layer that the inputs do not get to, in one trial."""
    if batches.numbers["dependence"][index] > _UNCHANGED or _tiny(weights):
        return None
    layer = batches.names["cut_layer"][index] or None
    if layer is None or activations is None or layer not in activations.layers[1:]:
        return layer
    # Between two modules a function may rectify: what is always negative ends there, and
    # nothing of the inputs is left for any layer behind it.
    then = int(np.searchsorted(activations.steps, batches.steps[index]))
    seen = [0, min(then, len(activations.steps) - 1)]
    before = slice(0, activations.layers.index(layer))
    mean, std = activations.mean[seen, before], activations.std[seen, before]
    above = activations.histogram[seen, before, ZERO_BIN + 1 :].sum(axis=2)
    whole = activations.histogram[seen, before].sum(axis=2)
    ended = (mean < -_FAR * std) | ((whole > 0) & (above < _HARDLY * whole))
    # Or squash: what is far from zero on either side ends there, too.
    ended |= share_beyond(activations, 3)[seen, before] > 1.0 - _HARDLY * 10.0
    return None if ended.any() else layer


def _tiny(weights: LayerHistory | None) -> bool:
    """Do several matrices start so small that what passes them all is lost in rounding?"""
    if weights is None:
        return False
    return int((weights.rms[0, matrices(weights)] < _TINY).sum()) > 1
