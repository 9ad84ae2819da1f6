"""All weights of a layer start out equal.

What it looks for:
    Two or more weight matrices or embeddings without any spread in the first snapshot (all
    zero, or all the same number), in a run that fails to learn; or whose rows, one a unit, were
    all equal at the start, in one that learns poorly; or that leaves a twentieth to learn, if
    no such matrix was zero.

Why it matters:
    Units with equal weights get equal gradients and stay copies of each other; with zeros
    no gradient passes at all.

What usually causes it:
    Weights set to a constant, often by code that was meant for the biases.

What to do:
    Initialise weights at random (He, Glorot); only biases may start at zero. Remove a
    `constant_`, `zeros_` or `ones_` that hit the weights as well.

When it is wrong:
    A zero start is right for the last layer of a residual branch or for an output layer:
    one such matrix is not counted, and what learns is not reported.

References:
    Goodfellow, Bengio & Courville (2016), Deep Learning, section 8.4 (breaking symmetry).
"""

import numpy as np

from backslide_detector.checks.layers import matrices
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory, RunEvidence
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SPREAD = 0.01
_LEFT = 0.05
_MOVED = 0.5


def check(
    run: RunEvidence, weights: LayerHistory, learning: Learning
) -> Found | Clear | Skipped:
    """Looks for equal rows at the start, and for no spread in the first snapshot."""
    # Without its module's name a tensor may be the scale of a norm, which starts at one.
    tables = [i for i, kind in enumerate(weights.kinds) if "Embedding" in kind]
    chosen = [
        i
        for i in sorted({*matrices(weights), *tables})
        if weights.count[i] > 1 and not weights.layers[i].startswith("parameter.")
    ]
    if len(chosen) < 2:
        return Skipped("fewer than two weight matrices were recorded")
    std, rms = weights.std[0, chosen], weights.rms[0, chosen]
    flat = {i for i, same in zip(chosen, std <= _SPREAD * rms, strict=True) if same}
    rows = {i for i in chosen if weights.layers[i] in run.alike}
    equal = sorted(flat | rows)
    if len(equal) < 2:
        return Clear()
    names = ", ".join(dict.fromkeys(weights.title(i) for i in equal[:5]))
    what = "All weights are equal" if rows <= flat else "All units start with equal weights"
    text = f"{what} (mean {np.mean(weights.mean[0, equal]):.3g}) in {names}"
    # Equal units stay copies of one another: a network of one unit a layer learns a little.
    # Layers are started at zero on purpose; at another number, never. The first step is made.
    meant = bool((weights.std[0, equal] >= _MOVED * weights.rms[0, equal]).any())
    hurt = rows and (learning.poor if meant else learning.leaves(_LEFT))
    if not (learning.failing or hurt):
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Initialise the weights at random (He, Glorot); only biases may start at zero.",
        layer=weights.module(equal[0]),
        since_step=int(weights.steps[0]),
        numbers={"layers": float(len(equal))},
        stop=learning.failing,
    )
