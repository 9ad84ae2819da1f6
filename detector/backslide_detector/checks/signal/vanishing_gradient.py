"""Gradients fade away on their way to the first layers.

What it looks for:
    Weight gradients early in the run whose size (root mean square) falls from the last
    layer to the first by more than a thousand times, down to less than 0.0001, in a run
    that fails to learn. The slope over the depth is fitted by Theil-Sen.

Why it matters:
    The first layers hardly move, so the network computes with random features.

What usually causes it:
    Many layers of sigmoid or tanh, or small first weights, without residual connections or
    normalisation.

What to do:
    Use residual connections or normalisation layers, ReLU-like activations in place of
    sigmoid or tanh, and an initialisation made for them (He, Glorot). Fewer layers help
    too.

When it is wrong:
    Gradients also get small when a network has converged, when the learning rate decays, or
    under a hinge loss that is satisfied: all of these have learned, so they get a note.
    Exact zeros are not counted here; they come from dead units, detached parts or weights
    that are all zero.

References:
    Hochreiter (1991); Glorot & Bengio (2010), AISTATS. Limits: AutoTrainer (Zhang et al.
    2021), which flags none of 34 healthy networks. Theil (1950); Sen (1968).
"""

import numpy as np
from scipy.stats import theilslopes

from backslide_detector.checks.layers import early, matrices
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped

_RATIO = 1e-3
_SIZE = 1e-4


def check(gradients: LayerHistory, learning: Learning) -> Found | Clear | Skipped:
    """Compares the first third of the weight matrices with the last one."""
    chosen = matrices(gradients)
    sizes = early(gradients.rms[:, chosen])
    alive = np.isfinite(sizes) & (sizes > 0.0)
    layers = [index for index, ok in zip(chosen, alive, strict=True) if ok]
    sizes = sizes[alive]
    if len(layers) < 3:
        return Skipped("fewer than three weight matrices have a gradient")
    front = sizes[: max(1, len(sizes) // 3)]
    smallest = int(front.argmin())
    ratio = float(front[smallest] / sizes[-1])
    if ratio >= _RATIO or front[smallest] >= _SIZE:
        return Clear()
    depth = gradients.depth[layers].astype(np.float64)
    slope = float(theilslopes(np.log10(sizes), depth).slope) if np.ptp(depth) else float("nan")
    layer = gradients.module(layers[smallest])
    text = (
        f"The gradient of {layer} ({front[smallest]:.1e}) is {1.0 / ratio:.0e} times smaller "
        f"than that of {gradients.module(layers[-1])} ({sizes[-1]:.1e})"
    )
    if learning.state is State.LEARNING:
        return Clear(f"{text}, but the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}, from the start. {learning.sentence}",
        "Add residual connections or normalisation, or use ReLU-like activations with He "
        "initialisation.",
        layer=layer,
        since_step=int(gradients.steps[0]),
        numbers={"ratio": ratio, "rms": float(front[smallest]), "decades_per_layer": slope},
    )
