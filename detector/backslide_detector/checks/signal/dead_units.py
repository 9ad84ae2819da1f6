"""Units that never fire.

What it looks for:
    Hidden layers in which more than half of the units were zero on every example of many
    sampled batches, in a run that fails to learn (or, where more than nine in ten are dead,
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
    keep many units unused. As long as the run learns this is a note. The last layer is not
    judged.

References:
    Maas et al. (2013), Rectifier nonlinearities improve neural network acoustic models,
    ICML workshop. Lu et al. (2020), Dying ReLU and Initialization.
"""

import numpy as np

from backslide_detector.checks.layers import FEW_SNAPSHOTS, recent
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_MOST = 0.5
_NEARLY_ALL = 0.9


def check(activations: LayerHistory, learning: Learning) -> Found | Clear | Skipped:
    """Judges the share of dead units in the last quarter of the steps."""
    hidden = activations.depth < activations.depth.max()
    # What is not a number is not above zero either: whether it would fire is not known.
    lost = activations.nonfinite_fraction > 0.0
    dead = np.where(lost, np.nan, activations.dead_fraction)
    measured = hidden & np.isfinite(dead).any(axis=0)
    if not measured.any():
        return Skipped("no hidden layer can have dead units")
    if len(activations.steps) < FEW_SNAPSHOTS:
        return Skipped("fewer than three snapshots of the activations")
    shares = np.where(measured, np.nan_to_num(recent(dead, activations.steps)), 0.0)
    bad = shares > _MOST
    if not bad.any():
        return Clear()
    worst = int(shares.argmax())
    text = (
        f"{shares[worst]:.0%} of the units of {activations.title(worst)} never fire"
        f" ({bad.sum()} of {count(measured.sum(), 'hidden layer')} with more than half of the "
        "units dead)"
    )
    if not (learning.failing or (learning.poor and shares[worst] > _NEARLY_ALL)):
        return Clear(f"{text}, but the run learns.")
    over = np.nan_to_num(dead[:, bad]).max(axis=1) > _MOST
    since = int(activations.steps[int(over.argmax())])
    first = int(np.flatnonzero(bad)[0])
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}, since step {since}. {learning.sentence}",
        "Lower the learning rate or warm it up, start biases at zero, or use LeakyReLU.",
        layer=activations.layers[first],
        since_step=since,
        numbers={"dead_fraction": float(shares[worst]), "layers": float(bad.sum())},
    )
