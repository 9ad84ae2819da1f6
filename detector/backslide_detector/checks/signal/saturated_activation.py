"""Sigmoid or tanh units stuck at their bounds.

What it looks for:
    Hidden layers with bounded activations whose outputs lie at the bounds: more than half of
    the units stay there on nearly all examples, or the spread of the outputs is what it would
    be if they took no other values, in a run that learns poorly, or does so on held-out data.
    Where tanh or sigmoid is a function, what it gets tells: nine tenths at 4 or more (8 for a
    sigmoid) on either side of zero.

Why it matters:
    At a bound the slope is almost zero, so almost no gradient passes.

What usually causes it:
    Inputs or first weights that are too large for sigmoid or tanh.

What to do:
    Scale the inputs to zero mean and unit variance, use a smaller initialisation (Glorot),
    put a normalisation layer before the activation, or lower the learning rate.

When it is wrong:
    Confident outputs and gates are meant to sit at their bounds. The last layer is not
    judged, gates inside recurrent modules are not seen, and a run that learns well gets a
    note.

References:
    Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural
    networks, AISTATS. For a variable on [a, b] with mean m the variance is at most (b -
    m)(m - a), reached only at the bounds (Bhatia & Davis 2000).
"""

import numpy as np

from backslide_detector.checks.layers import (
    FEW_SNAPSHOTS,
    recent,
    share_beyond,
    spread_within_bounds,
)
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory, RunEvidence
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.graph import Graph

_UNITS = 0.5
_SPREAD = 0.9
_FLAT = {"tanh": 2, "sigmoid": 3}
"""Powers of two from which on their slope is below 0.002."""
_ADVICE = "Scale the inputs, use a smaller initialisation, or normalise before the activation."


def check(
    activations: LayerHistory, learning: Learning, run: RunEvidence | None = None
) -> Found | Clear | Skipped:
    """Judges the last quarter of the steps, activations that are functions after modules."""
    found = _modules(activations, learning)
    graph = None if run is None else run.graph
    if isinstance(found, Found) or graph is None or len(activations.steps) < FEW_SNAPSHOTS:
        return found
    for index, kind in _squashed(activations, graph):
        share = float(recent(share_beyond(activations, _FLAT[kind]), activations.steps)[index])
        if share > _SPREAD and learning.lags:
            return Found(
                Severity.FAILING if learning.failing else Severity.WARNING,
                f"{share:.0%} of what {kind} gets from {activations.title(index)} lies beyond "
                f"±{2 ** _FLAT[kind]}, where it is flat. {learning.sentence}",
                _ADVICE,
                layer=activations.layers[index],
                since_step=int(activations.steps[0]),
                numbers={"beyond": share},
            )
    return found


def _squashed(activations: LayerHistory, graph: Graph) -> list[tuple[int, str]]:
    """Hidden layers that a bounded function alone takes, and which one."""
    kinds = {node.id: node.kind for node in graph.nodes if node.type == "operation"}
    takers: dict[str, list[str]] = {}
    for start, end in graph.edges:
        takers.setdefault(start, []).append(kinds.get(end, ""))
    hidden = np.flatnonzero(activations.depth < activations.depth.max())
    return [
        (index, taken[0])
        for index in hidden.tolist()
        if len(taken := takers.get(activations.layers[index], [])) == 1 and taken[0] in _FLAT
    ]


def _modules(activations: LayerHistory, learning: Learning) -> Found | Clear | Skipped:
    """Layers that are bounded activations themselves."""
    measured = np.isfinite(activations.saturated_fraction).any(axis=0)
    measured &= activations.depth < activations.depth.max()
    if not measured.any():
        return Skipped("no hidden layer has a bounded activation")
    if len(activations.steps) < FEW_SNAPSHOTS:
        return Skipped("fewer than three snapshots of the activations")
    units = np.where(
        measured, np.nan_to_num(recent(activations.saturated_fraction, activations.steps)), 0.0
    )
    spread = np.where(
        measured,
        np.nan_to_num(recent(spread_within_bounds(activations), activations.steps)),
        0.0,
    )
    bad = (units > _UNITS) | (spread > _SPREAD)
    if not bad.any():
        return Clear()
    first = int(bad.argmax())
    name = activations.layers[first]
    text = (
        f"The outputs of {activations.title(first)} sit at their bounds: {units[first]:.0%} of "
        f"its units on nearly all examples, and {spread[first]:.0%} of the largest possible "
        "variance"
    )
    if not learning.lags:
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        _ADVICE,
        layer=name,
        since_step=int(activations.steps[0]),
        numbers={"saturated_fraction": float(units[first]), "spread": float(spread[first])},
    )
