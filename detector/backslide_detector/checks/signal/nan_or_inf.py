"""Numbers are no longer finite.

What it looks for:
    NaN or infinity that stays or keeps coming back: in the weights, in the training loss of
    the last steps, or in the gradients of many snapshots in a row. Names the layer and the
    step where it was seen first, or the step whose inputs brought it.

Why it matters:
    What has touched a NaN is NaN. Once in the weights it does not go away, and every
    further step is wasted.

What usually causes it:
    A learning rate that is too high; then missing values in the data, or a logarithm or
    division in the loss.

What to do:
    Look for findings above this one, most of all a learning rate that is too high. If there
    are none, look for missing values in the data, for a logarithm or a division in the
    loss, and for a mask that leaves nothing (a softmax over minus infinity).

When it is wrong:
    Mixed precision with a loss scaler produces infinite gradients on purpose and skips
    those steps; single bad batches pass. Both are notes, as long as loss and weights stay
    finite.

References:
    Micikevicius et al. (2018), Mixed Precision Training, ICLR.
"""

import numpy as np

from backslide_detector.checks.curve import is_finite
from backslide_detector.checks.learning import Learning
from backslide_detector.checks.stated import is_lost
from backslide_detector.evidence import Batches, LayerHistory, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_DATA = (
    "Replace or drop missing values before they reach the network, and look at what prepares "
    "the data for a division by zero (a feature whose spread is 0) or a logarithm."
)
_ADVICE = (
    "Lower the learning rate or clip the gradients; if it starts in the first steps, look for "
    "missing values in the data and for log or division in the loss."
)


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    loss: Series | None = None,
    activations: LayerHistory | None = None,
    gradients: LayerHistory | None = None,
    weights: LayerHistory | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Weights or loss that stay non-finite fail; gradients only when learning fails too."""
    if loss is None and weights is None and gradients is None:
        return Skipped("neither a loss nor layers were recorded")
    layer, step = _first(activations, gradients, weights, loss)
    seen = [
        name
        for name, is_bad in (
            ("the weights", weights is not None and _bad(weights)[-1].any()),
            ("the training loss", loss is not None and is_lost(loss, finished=run.finished)),
            ("the gradients", learning.failing and gradients is not None and _stuck(gradients)),
        )
        if is_bad
    ]
    if seen:
        where = f", first in {layer}" if layer else ""
        fed = _fed(batches, step)
        if fed is not None:
            where = f", after the inputs of step {fed} had held such numbers"
        return Found(
            Severity.FAILING,
            f"No longer finite: {', '.join(seen)}, since step {step}{where}.",
            _ADVICE if fed is None else _DATA,
            layer=layer,
            since_step=step,
            numbers={"first_step": float(step or 0)},
            stop=True,
        )
    if step is None:
        return Clear()
    again = _recurring(loss)
    if again:
        return Found(
            Severity.WARNING,
            f"{again:.0%} of the training losses in the second half of the run are not finite, "
            f"the first at step {step}.",
            _ADVICE,
            layer=layer,
            since_step=step,
            numbers={"share": again, "first_step": float(step)},
        )
    where = f" ({layer})" if layer else ""
    return Clear(f"Values that were not finite at step {step}{where} passed again.")


def _bad(history: LayerHistory) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Where a tensor held non-finite elements, shape (s, l)."""
    return history.nonfinite_fraction > 0.0


def _fed(batches: Batches | None, step: int | None) -> int | None:
    """The first sampled step, up to that one, whose inputs held non-finite numbers."""
    if batches is None or step is None:
        return None
    bad = (batches.numbers["input_nonfinite_fraction"] > 0.0) & (batches.steps <= step)
    return int(batches.steps[int(bad.argmax())]) if bad.any() else None


def _recurring(loss: Series | None) -> float:
    """Share of non-finite losses in the second half; 0 when they are few."""
    if loss is None:
        return 0.0
    bad = ~is_finite(loss.values[len(loss) // 2 :])
    return float(bad.mean()) if bad.sum() >= 5 and bad.mean() >= 0.02 else 0.0


def _stuck(gradients: LayerHistory) -> bool:
    """Have the gradients been non-finite in each of the last snapshots?"""
    recent = _bad(gradients)[-5:]
    return len(recent) >= 3 and bool(recent.any(axis=1).all())


def _first(
    activations: LayerHistory | None,
    gradients: LayerHistory | None,
    weights: LayerHistory | None,
    loss: Series | None,
) -> tuple[str | None, int | None]:
    """Module and step of the first non-finite value; within a step by depth, forward first."""
    found: list[tuple[int, int, int, str | None]] = []
    for order, history in enumerate((activations, gradients, weights)):
        if history is not None and (bad := _bad(history)).any():
            row = int(bad.any(axis=1).argmax())
            index = int(bad[row].argmax())
            found.append((int(history.steps[row]), order, index, history.module(index)))
    if loss is not None and (bad_loss := ~is_finite(loss.values)).any():
        found.append((int(loss.steps[bad_loss.argmax()]), 3, 0, None))
    if not found:
        return None, None
    # The loss is logged at every step, layers only now and then: the layer comes from the first
    # snapshot, the step from whatever was earlier.
    named = [item for item in found if item[3] is not None]
    return (min(named)[3] if named else None), min(found)[0]
