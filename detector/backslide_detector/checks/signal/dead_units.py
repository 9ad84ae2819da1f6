"""Units that never fire.

What it looks for:
    Hidden layers in which more than half of the units were zero on every example of many
    sampled batches (or, where activations are functions and not modules, got a gradient of
    exactly zero), in a run that fails to learn (or, where more than nine in ten are dead,
    learns poorly).

Why it matters:
    A rectified unit that is always zero gets no gradient, so it does not come back. What is
    left of the layer is too narrow, or nothing.

What usually causes it:
    One step that was too large, or biases that start out far below zero.

What to do:
    Lower the learning rate or warm it up: one step that is too large is the usual cause.
    Start biases at zero, use He initialisation, or LeakyReLU or GELU.

When it is wrong:
    Healthy rectified layers are zero on half of their inputs, and wide or L1-penalised ones
    keep many units unused. As long as the run learns this is a note, and where enough units
    are left for the answers to depend on the examples: what is not learned for another reason
    kills units, too. The last layer is not judged, nor steps in which not even that got a
    gradient: there the output has no slope.

References:
    Maas et al. (2013), Rectifier nonlinearities improve neural network acoustic models,
    ICML workshop. Lu et al. (2020), Dying ReLU and Initialization.
"""

import numpy as np

from backslide_detector.checks.layers import FEW_SNAPSHOTS, recent
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_BEFORE_RECTIFIERS = frozenset(
    {"Linear", "Conv1d", "Conv2d", "Conv3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"}
)
_MOST = 0.5
_NEARLY_ALL = 0.9
_DEPENDS = 0.1


def check(
    activations: LayerHistory,
    learning: Learning,
    *,
    gradients: LayerHistory | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Judges the share of dead units in the last quarter of the steps."""
    history, dead = activations, _seen(activations)
    bounded = np.isfinite(activations.saturated_fraction).any()
    if not np.isfinite(dead).any() and gradients is not None and not bounded:
        history, dead = gradients, _left_out(gradients)
    measured = np.isfinite(dead).any(axis=0)
    if not measured.any():
        return Skipped("no hidden layer can have dead units")
    if len(history.steps) < FEW_SNAPSHOTS:
        return Skipped("fewer than three snapshots of the activations")
    shares = np.where(measured, np.nan_to_num(recent(dead, history.steps)), 0.0)
    bad = shares > _MOST
    if not bad.any():
        return Clear()
    worst, first = int(shares.argmax()), int(np.flatnonzero(bad)[0])
    what = "never fire" if history is activations else "got no gradient from any example"
    text = (
        f"{shares[worst]:.0%} of the units of {history.title(worst)} {what}"
        f" ({bad.sum()} of {count(measured.sum(), 'hidden layer')} with more than half of the "
        "units dead)"
    )
    if not (learning.failing or (learning.poor and shares[worst] > _NEARLY_ALL)):
        return Clear(f"{text}, but the run learns.")
    if shares[worst] <= _NEARLY_ALL and _answers(batches):
        return Clear(f"{text}, but the answers depend on the examples.")
    over = np.nan_to_num(dead[:, bad]).max(axis=1) > _MOST
    # A first batch or two leave many units out that others will use.
    stays = over & (np.cumsum(over[::-1])[::-1] >= _NEARLY_ALL * np.arange(len(over), 0, -1))
    since = int(history.steps[int((stays if stays.any() else over).argmax())])
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}, since step {since}. {learning.sentence}",
        "Lower the learning rate or warm it up, start biases at zero, or use LeakyReLU.",
        layer=history.module(first),
        since_step=since,
        numbers={"dead_fraction": float(shares[worst]), "layers": float(bad.sum())},
    )


def _answers(batches: Batches | None) -> bool:
    """Did other examples get other answers when that was last tried?"""
    if batches is None:
        return False
    dependence = batches.numbers["dependence"]
    tried = dependence[np.isfinite(dependence)]
    return bool(len(tried)) and float(tried[-1]) > _DEPENDS


def _seen(activations: LayerHistory) -> Floats:
    """Share of dead units by snapshot and layer; NaN for the last layer and the unmeasured."""
    hidden = activations.depth < activations.depth.max()
    # What is not a number is not above zero either: whether it would fire is not known.
    known = hidden & ~(activations.nonfinite_fraction > 0.0)
    return np.where(known, activations.dead_fraction, np.nan)


def _left_out(gradients: LayerHistory) -> Floats:
    """Share of units whose bias had a gradient of exactly zero, by snapshot and tensor.

    NaN for what is no bias of a layer with a fixed number of units, and for the last one.
    """
    biases = np.array(
        [
            name.endswith(".bias") and kind in _BEFORE_RECTIFIERS
            for name, kind in zip(gradients.layers, gradients.kinds, strict=True)
        ],
        dtype=bool,
    )
    last = gradients.depth == gradients.depth.max(initial=0)
    hidden = gradients.depth < gradients.depth[biases].max() if biases.any() else biases
    # Where not even the last layer got one, nothing came from the loss: units are not at fault.
    stopped = (gradients.abs_max[:, last] == 0.0).all(axis=1, keepdims=True)
    return np.where(biases & hidden & ~stopped, gradients.zero_fraction, np.nan)
