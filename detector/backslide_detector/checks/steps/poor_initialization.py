"""The weights start out far too large, or far too small.

What it looks for:
    In a run that learns poorly: a loss that in the very first step is three times what a
    constant guess would cost, with outputs to match, or activations that grow more than a
    thousandfold from the first to the last layer in the first snapshot. In one that leaves a
    tenth to learn: a first loss of ten thousand constant guesses, or hidden layers of sigmoid
    or tanh whose outputs sit at their bounds before the first step. In a run that learns poorly
    also: a layer whose weights start so that what passes it becomes ten times as large (their
    root mean square times the root of the inputs of a unit), recurrent ones included; or, where
    nothing is learned, several layers that make it less than a hundredth. Weights so large also
    count where a tenth is left and the nearest training examples leave at most half of that.

Why it matters:
    The network begins with wrong answers that it is sure of; it has to unlearn them first,
    through saturated units and exploding gradients. With weights near zero every layer hands on
    next to nothing, and no gradient comes back.

What usually causes it:
    First weights drawn with a fixed spread (a normal distribution of 1, or of 0.0001) whatever
    the width of the layer.

What to do:
    Use He initialisation for ReLU and Glorot for tanh and sigmoid, and scale the inputs to
    about zero mean and unit variance.

When it is wrong:
    A loss that is summed over the batch starts high as well; if the run learns, it is not
    reported. So does one behind dropout of nearly all: what counts is the loss of the same
    examples in evaluation mode, where that was measured before the second step. Without class
    counts only the activations and weights are judged. Blocks that start at exactly zero beside
    a skip connection are no fault; only weights that differ count.

References:
    He et al. (2015), Delving Deep into Rectifiers, ICCV. Karpathy (2019), A Recipe for
    Training Neural Networks: verify the loss at the start.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from backslide_detector.checks.layers import at_bounds, matrices
from backslide_detector.checks.learning import BAD_START, Learning
from backslide_detector.checks.nearest import beside_neighbours
from backslide_detector.evidence import Batches, Floats, LayerHistory, RunEvidence
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import magnitude

_GROWTH = 1e3
_LARGE = 100.0
_SURE = 3.0
_ENORMOUS = 1e4
_LEFT = 0.1
_TOO_LARGE = 10.0
_TOO_SMALL = 0.01
_OF_A_STEP = 2.0


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    activations: LayerHistory | None = None,
    weights: LayerHistory | None = None,
    updates: LayerHistory | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Judges the first loss, and what the layers make of their inputs in the first snapshot."""
    if learning.guess_loss is None and activations is None and weights is None:
        return Skipped("neither class counts nor activations nor weights were recorded")
    parts = []
    numbers = {}
    bounds = at_bounds(activations)
    if bounds:
        parts.append(
            f"Before the first step the outputs of {', '.join(bounds[:4])} sit at their bounds"
        )
        numbers["at_bounds"] = float(len(bounds))
    sizes = np.empty(0) if activations is None else _sizes(activations)
    # A loss that is summed over the batch starts high without large outputs.
    sure = bool(sizes[-1] > _SURE) if len(sizes) else learning.failing
    sure &= not _dropped(batches, learning)
    if learning.bad_start and sure and learning.first_loss is not None:
        parts.append(
            f"The first loss was {learning.first_loss:.3g}, a constant guess costs "
            f"{learning.guess_loss:.3g}"
        )
        numbers["first_loss"] = learning.first_loss
    growth = float(sizes[-1] / sizes[0]) if len(sizes) > 2 else 0.0
    if growth > _GROWTH and sizes[-1] > _LARGE:
        parts.append(
            f"Activations grow {magnitude(growth)} times from the first layer to the last"
        )
        numbers["growth"] = growth
    if weights is not None:
        for text, name, number in _passed_on(_gains(weights, updates), learning):
            parts.append(text)
            numbers[name] = number
    if not parts:
        return Clear()
    text = ". ".join(parts)
    worst = bounds or _enormous(learning) or ("gain" in numbers and _behind(run, learning))
    if not (learning.poor or (worst and learning.leaves(_LEFT))):
        return Clear(f"{text}. The run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Initialise with He (ReLU) or Glorot (tanh, sigmoid), and scale the inputs.",
        since_step=0,
        numbers=numbers,
    )


def _dropped(batches: Batches | None, learning: Learning) -> bool:
    """Does what evaluation mode leaves out make most of the first loss?"""
    if batches is None or not learning.guess_loss:
        return False
    costs = batches.numbers["trial_eval_loss"][batches.steps <= 1]
    costs = costs[np.isfinite(costs)]
    limit = BAD_START * max(learning.guess_loss, float(np.log(learning.classes or 2)))
    return bool(len(costs)) and float(costs[0]) <= limit


def _behind(run: RunEvidence, learning: Learning) -> bool:
    """Do the nearest training examples tell far more than the network?"""
    neighbours = beside_neighbours(run, learning)
    return neighbours is not None and neighbours.behind()


def _enormous(learning: Learning) -> bool:
    """Was the first loss beyond what any sum over a batch makes of a constant guess?"""
    first, guess = learning.first_loss, learning.guess_loss
    return first is not None and guess is not None and first > _ENORMOUS * guess


def _passed_on(
    gains: Mapping[str, float], learning: Learning
) -> Iterator[tuple[str, str, float]]:
    """What is wrong with the layers' gains: in words, and a number with its name."""
    large = max(gains, key=gains.__getitem__, default="")
    if gains and gains[large] > _TOO_LARGE:
        times = f"{gains[large]:.2g} times as large"
        text = f"The weights of {large!r} start so large that what passes them becomes {times}"
        yield text, "gain", gains[large]
    small = [layer for layer, gain in gains.items() if 0.0 < gain < _TOO_SMALL]
    if len(small) > 1 and 2 * len(small) > len(gains) and learning.failing:
        most = max(gains[layer] for layer in small)
        text = f"The weights of {len(small)} of {len(gains)} layers start so small that each"
        yield (
            f"{text} leaves at most {most:.0e} of the size of what passes it",
            "small_layers",
            float(len(small)),
        )


def _gains(weights: LayerHistory, updates: LayerHistory | None) -> dict[str, float]:
    """What a layer makes of the size of its inputs, by its weights in the first snapshot.

    For independent inputs of mean 0 that is their root mean square times the root of the inputs
    of a unit: about 1.4 after He, 1 after Glorot, 0.6 after torch's default. Biases tell the
    units.
    """
    if weights.steps[0] > 1:
        return {}
    found = {}
    for index in matrices(weights):
        layer, rms = weights.layers[index], float(weights.rms[0, index])
        bias = layer.replace("weight", "bias")
        if bias in weights.layers and not rms <= _OF_A_STEP * _first_step(updates, layer):
            inputs = int(weights.count[index]) / int(weights.count[weights.layers.index(bias)])
            found[layer] = rms * float(np.sqrt(inputs))
    return found


def _first_step(updates: LayerHistory | None, layer: str) -> float:
    """How far the first step moved these weights, which is in what was measured after it."""
    if updates is None or layer not in updates.layers or updates.steps[0] > 1:
        return 0.0
    return float(np.nan_to_num(updates.rms[0, updates.layers.index(layer)]))


def _sizes(activations: LayerHistory) -> Floats:
    """Sizes of the layers' outputs before the second step, by depth; empty when unknown."""
    sizes = activations.rms[0]
    return (
        sizes[np.isfinite(sizes) & (sizes > 0.0)] if activations.steps[0] <= 1 else np.empty(0)
    )
