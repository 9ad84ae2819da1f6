"""Gradients fade away on their way to the first layers.

What it looks for:
    In a run that does not learn: weight gradients early in the run whose size (root mean
    square) falls from the last layer to the first by more than a thousand times, down to less
    than 0.0001; among five layers of a kind or more, steadily so (Kendall's test and Theil-Sen
    slope over the depth). Or, in one that is known to fail, a layer whose gradient fades over
    the run to less than a hundredth, down to less than 0.0001: a trend of Mann and Kendall on
    block means, beyond what follows the learning rate, at most 5 % false over all layers. In
    a run that does not fail, a layer that fades so against the others is a note. Or, in a run
    that is known to fail, a recurrent network whose answers do not change when the first half
    of each sequence is exchanged: over as many steps nothing is remembered and no gradient
    comes back.

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
    Queries and keys of attention have hardly a gradient at first; that is no matter where one
    gets past them to what stands in front. Gradients also get small when a network has
    converged, when the learning rate decays, or under a hinge loss that is satisfied: all of
    these have learned, so they get a note. Exact zeros are not counted here; they come from
    dead units, detached parts or weights that are all zero.

References:
    Hochreiter (1991); Glorot & Bengio (2010), AISTATS. Limits: AutoTrainer (Zhang et al.
    2021), which flags none of 34 healthy networks. Mann (1945); Theil (1950); Sen (1968).
"""

import numpy as np

from backslide_detector.checks.layers import early, matrices, recent
from backslide_detector.checks.learning import Learning, State
from backslide_detector.checks.trends import across_depth, furthest, times
from backslide_detector.evidence import Batches, Floats, LayerHistory, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.stats.mann_kendall import Answer, Trend
from backslide_detector.wording import magnitude

_RATIO = 1e-3
_SIZE = 1e-4
_REMEMBERED = 1e-3
_ANSWERS = 1e-4  # relative change of answers to other examples, below which they are constant
_FEW_TRIALS = 3
_FADED = -2.0  # decades over the run
_ADVICE = (
    "Add residual connections or normalisation, or use ReLU-like activations with He "
    "initialisation."
)


def check(
    gradients: LayerHistory,
    learning: Learning,
    learning_rate: Series | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Looks over the steps of a sequence, over the layers, then over the run."""
    if batches is not None and (found := _forgotten(batches, gradients, learning)):
        return found
    chosen = matrices(gradients)
    every = early(gradients.rms)
    layers = [i for i in chosen if np.isfinite(every[i]) and every[i] > 0.0]
    if len(layers) < 3:
        return Skipped("fewer than three weight matrices have a gradient")
    last = layers[-1]
    limit = min(_SIZE, _RATIO * float(every[last]))
    front = _on_the_way(gradients, every, layers[: max(1, len(layers) // 3)], limit)
    if not front:
        return _faded(gradients, learning, learning_rate)
    smallest = min(front, key=lambda i: float(every[i]))
    slope = across_depth(gradients, every, smallest)
    if every[smallest] >= limit or (
        slope.answer is not Answer.TOO_SHORT and slope.slope <= 0.0
    ):
        return _faded(gradients, learning, learning_rate)
    ratio = float(every[smallest] / every[last])
    layer = gradients.module(smallest)
    text = (
        f"The gradient of {gradients.title(smallest)} ({every[smallest]:.1e}) is "
        f"{magnitude(1.0 / ratio)} times smaller than that of {gradients.title(last)} "
        f"({every[last]:.1e})"
        f"{_steadily(slope, gradients.kinds[smallest])}"
    )
    if learning.state is State.LEARNING:
        return Clear(f"{text}, but the run learns.")
    numbers = {"ratio": ratio, "rms": float(every[smallest])}
    if slope.answer is not Answer.TOO_SHORT:
        low, high = slope.interval
        numbers |= {"decades_per_layer": slope.slope, "low": low, "high": high}
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}, from the start. {learning.sentence}",
        _ADVICE,
        layer=layer,
        since_step=int(gradients.steps[0]),
        numbers=numbers,
    )


def _on_the_way(
    gradients: LayerHistory, every: Floats, front: list[int], limit: float
) -> list[int]:
    """Those of the first layers that no gradient gets past.

    Queries and keys of attention and other gates stand aside: their gradients may be tiny
    where that of an embedding or a layer in front of them is not.
    """
    passed = gradients.depth[np.nan_to_num(every) >= limit]
    first = passed.min(initial=np.iinfo(np.int64).max)
    return [i for i in front if gradients.depth[i] <= first]


def _forgotten(batches: Batches, gradients: LayerHistory, learning: Learning) -> Found | None:
    """A recurrent network that does not remember the first half of its sequences."""
    memory, all_of_it = batches.numbers["memory"], batches.numbers["dependence"]
    tried = np.flatnonzero(np.isfinite(memory) & (all_of_it > _ANSWERS))
    if not learning.failing or len(tried) < _FEW_TRIALS:
        return None
    shares = memory[tried] / all_of_it[tried]
    if shares.max() >= _REMEMBERED:
        return None
    recurrent = (i for i, name in enumerate(gradients.layers) if "_hh_" in name)
    return Found(
        Severity.FAILING,
        "Exchanging the first half of each sequence changes the answers by "
        f"{float(np.median(shares)):.1g} of what exchanging all of it does: over so many steps "
        f"no gradient comes back. {learning.sentence}",
        "Use a GRU or LSTM with a forget gate that starts open, attention, or shorter "
        "sequences; start recurrent weights orthogonal.",
        layer=gradients.module(next(recurrent, 0)),
        since_step=int(batches.steps[tried[0]]),
        numbers={"remembered": float(np.median(shares))},
    )


def _steadily(slope: Trend, kind: str) -> str:
    """The slope over the depth in words, where there are layers enough."""
    if slope.answer is Answer.TOO_SHORT:
        return ""
    low, high = (times(-bound) for bound in reversed(slope.interval))
    return (
        f": {times(-slope.slope)} from each of {slope.blocks} {kind} layers to the one before "
        f"(95 % interval {low} to {high})"
    )


def _faded(
    gradients: LayerHistory, learning: Learning, learning_rate: Series | None
) -> Found | Clear:
    """A layer whose gradient fades over the run: in one that fails, or alone among others."""
    going = furthest(gradients, learning_rate, _FADED, against_others=not learning.failing)
    if going is None:
        return Clear()
    layer, said = gradients.module(going.index), gradients.title(going.index)
    if not learning.failing:
        return Clear(
            f"Held against the other layers, the gradient of {said} fades: {going.words()}."
        )
    now = float(recent(gradients.rms[:, going.index], gradients.steps))
    if not now < _SIZE:
        return Clear()
    if going.confounded:
        return Clear(f"The gradient of {said} faded to {now:.1e}: {going.words()}.")
    return Found(
        Severity.WARNING,
        f"The gradient of {said} faded to {now:.1e}: {going.words()}. {learning.sentence}",
        "Look at what else changed in this layer since then: units that died, activations at "
        "their bounds, weights that decay.",
        layer=layer,
        since_step=going.since,
        numbers={"rms": now} | going.numbers,
    )
