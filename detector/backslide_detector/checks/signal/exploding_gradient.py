"""Gradients blow up.

What it looks for:
    In a run that fails to learn: a gradient norm that grew to twenty times its early level
    and stayed there, or one that is above a thousand from the first step; or one layer whose
    gradient grew as much by a steady trend (Mann-Kendall on block means) beyond what follows
    the learning rate, at most 5 % false over all layers. Or, in a run that leaves a twentieth
    to learn: backward passes that begin with the very gradients of the step before, so that
    all of the run's add up.

Why it matters:
    Each step throws the weights further away; units die, the loss turns to NaN.

What usually causes it:
    A learning rate that is too high, gradients that are not cleared, or weights that start
    out too large.

What to do:
    Check that gradients are cleared before each backward pass and that the initialisation
    fits the activations; then lower the learning rate, or clip the gradient norm at 1.

When it is wrong:
    Regression on targets in raw units has large gradients and learns all the same,
    recurrent networks spike, warm-up lets norms grow: a run that learns gets a note at
    most. Gradients that are gathered on purpose are cleared after the step, or faded.

References:
    Pascanu et al. (2013), On the difficulty of training recurrent neural networks, ICML.
    Mann (1945), Econometrica 13:245-259.
"""

import numpy as np

from backslide_detector.checks.batches import never_cleared
from backslide_detector.checks.layers import FEW_SNAPSHOTS, norm, recent
from backslide_detector.checks.learning import Learning
from backslide_detector.checks.trends import furthest
from backslide_detector.evidence import Batches, LayerHistory, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_GROWTH = 20.0
_LARGE = 1e3
_LEFT = 0.05


def check(
    gradients: LayerHistory,
    learning: Learning,
    learning_rate: Series | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Asks whether gradients were cleared, then compares their norm with its own start."""
    since = never_cleared(batches)
    if since is not None and learning.leaves(_LEFT):
        return Found(
            Severity.FAILING if learning.failing else Severity.WARNING,
            "Gradients are never cleared: each backward pass adds to those that the last step "
            f"was made with. {learning.sentence}",
            "Call optimizer.zero_grad() once for every optimizer.step().",
            since_step=since,
            stop=learning.diverged,
        )
    if len(gradients.steps) < FEW_SNAPSHOTS:
        return Skipped("fewer than three snapshots of the gradients")
    norms = norm(gradients, list(range(len(gradients.layers))))
    known = np.isfinite(norms)
    if not known.any():
        return Skipped("no snapshot has finite gradients")
    start = float(norms[known][0])
    late = float(recent(np.where(norms > 0.0, norms, np.nan), gradients.steps))
    grown = start > 0.0 and late > _GROWTH * start
    large = start > _LARGE
    peak = float(norms[known].max())
    finite = bool((gradients.nonfinite_fraction[-1] == 0.0).all())
    if not (grown or large):
        return _steadily(gradients, learning, learning_rate)
    if not learning.failing:
        return Clear(f"The gradient norm went from {start:.2g} to {peak:.2g}; the run learns.")
    high = norms > max(_GROWTH * start, _LARGE)
    odd = (gradients.nonfinite_fraction > 0.0).any(axis=1)
    began = 0 if large else int((high | odd).argmax())
    layer = gradients.module(_blown_up(gradients, began))
    end = f"{late if grown else peak:.2g}" + ("" if finite else ", then out of range")
    return Found(
        Severity.FAILING,
        f"The gradient norm went from {start:.2g} at step {gradients.steps[0]} to {end}. "
        f"{learning.sentence}",
        "Check that gradients are cleared before each backward pass and how the weights are "
        "initialised; then lower the learning rate or clip the gradient norm.",
        layer=layer,
        since_step=int(gradients.steps[began]),
        numbers={"start": start, "peak": peak},
        stop=learning.diverged,
    )


def _steadily(
    gradients: LayerHistory, learning: Learning, learning_rate: Series | None
) -> Found | Clear:
    """A single layer whose gradient grows all the while, in a run that fails."""
    least = float(np.log10(_GROWTH))
    going = furthest(gradients, learning_rate, least) if learning.failing else None
    if going is None:
        return Clear()
    layer, said = gradients.module(going.index), gradients.title(going.index)
    if going.confounded:
        return Clear(f"The gradient of {said} grows: {going.words()}.")
    return Found(
        Severity.WARNING,
        f"The gradient of {said} grows: {going.words()}. {learning.sentence}",
        "Clip the gradient norm or lower the learning rate, and look at what feeds this layer.",
        layer=layer,
        since_step=going.since,
        numbers=going.numbers,
    )


def _blown_up(gradients: LayerHistory, row: int) -> int:
    """The tensor with non-finite gradients, else with the largest, in one snapshot."""
    odd = gradients.nonfinite_fraction[row] > 0.0
    if odd.any():
        return int(odd.argmax())
    return int(np.nan_to_num(gradients.rms[row], nan=-1.0).argmax())
