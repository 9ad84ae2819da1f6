"""The network is too simple for its data.

What it looks for:
    A finished run whose training loss is flat over its second half, within 1.5 % of
    what always guessing the class shares costs, or of what so many weights gain by chance (for
    numbers: R² below 0.05, and answers that do not go with the targets), with the validation
    loss beside it and no better than that guess, although the weights move and there are fewer
    of them than training examples. Or one that
    ends far from its aim (a quarter or more left to learn) behind a layer with fewer than a
    third as many units as there are classes, which are all that the next layer gets; or one
    that lies flat with half or more left to learn behind a layer of one or two units.

Why it matters:
    It cannot do better, however long it trains and however much data it gets.

What usually causes it:
    Too few units, a layer that is too narrow, or inputs that do not tell the answer.

What to do:
    Add layers or units, or better inputs. Then train on 32 examples only
    (`backslide.small_data_test`): a network that is large enough learns them by heart.

When it is wrong:
    Inputs that do not tell the answer look exactly the same, and no single run can say which
    it is. Networks with more weights than examples are not judged by their loss, because they
    could learn by heart: there the cause lies in the optimisation, see the findings above. What
    does clearly better than guessing is left alone: it may be the best that the data allows.

References:
    Goodfellow, Bengio & Courville (2016), Deep Learning, section 5.2. Karpathy (2019), A
    Recipe for Training Neural Networks: overfit first. Fewer weights than examples cannot fit
    random labels: Zhang et al. (2017), ICLR. What a weight gains by chance, half a nat over all
    examples: Wilks (1938); Akaike (1974).
"""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.stats import theilslopes

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.curve import Curve, latest
from backslide_detector.checks.layers import matrices, typical, update_ratio
from backslide_detector.checks.learning import FEW_STEPS, Learning
from backslide_detector.evidence import LayerHistory, Predictions, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_NOTHING = 0.05
_NO_LOSS = 0.015
_LITTLE = 0.25
_HALF = 0.5
_TINY = 100  # weights; where the size of the data is not known
_LEFT = 0.75
_FLAT = 0.15
_BESIDE = 0.15
_NARROW = 1 / 3
_FEW = 3
_LESS = 0.5
_MOVING = 1e-5
_SAME = 0.99


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    validation_loss: Series,
    weights: LayerHistory,
    updates: LayerHistory | None = None,
    predictions: Mapping[str, Predictions] | None = None,
) -> Found | Clear | Skipped:
    """Looks for a flat, high loss on both sides of the split, and for what is too small."""
    shape = learning.curve
    if not run.finished:
        return Skipped("the run goes on")
    if shape is None or shape.n < FEW_STEPS:
        return Skipped("fewer than 100 training losses")
    if learning.guess_loss is None and learning.validation_skill is None:
        return Skipped("needs class counts, or predictions of numbers on held-out data")
    held = latest(validation_loss)
    held = np.inf if held is None else held
    scale = learning.guess_loss or abs(shape.final)
    beside = abs(held - shape.final) < _BESIDE * scale
    # One answer to everything is no lack of capacity.
    straight = len(matrices(weights)) == 1  # for want of a slope it may answer with a constant
    moves = _moves(updates, weights) and (straight or not _constant(predictions or {}))
    size = int(weights.count.sum())
    nothing = _nothing(learning, shape.final, held, size, lucky=_HALF if straight else _LITTLE)
    flat = _flat(shape, scale)
    small = _small(learning, weights, nothing=nothing, flat=flat) if beside and moves else None
    if small is None:
        return Clear()
    reason, layer = small
    return Found(
        Severity.FAILING if nothing else Severity.WARNING,
        f"Training and validation loss {'lie flat' if flat else 'end'} at {shape.final:.3g} "
        f"and {held:.3g}, and {reason}. {learning.sentence}",
        "Add units or layers, or inputs that tell more; more data of the same kind is no help.",
        layer=layer,
        since_step=int(shape.steps[len(shape.steps) // 2]),
        numbers={"training_loss": shape.final, "weights": float(weights.count.sum())},
    )


def _small(
    learning: Learning, weights: LayerHistory, *, nothing: bool, flat: bool
) -> tuple[str, str | None] | None:
    """(What is too small, the layer); None when nothing is known to be."""
    size = int(weights.count.sum())
    if nothing and flat and size < (learning.examples or _TINY):
        examples = f" for {learning.examples:,} examples" if learning.examples else ""
        return f"the network has {size:,} weights{examples}", None
    narrow, classes = _narrowest(weights), learning.classes or 0
    if narrow is None:
        return None
    layer, width = narrow
    skill = learning.skill or 0.0
    if width < _NARROW * classes and skill < _LEFT:
        return f"{layer} has {count(width, 'unit')} for {classes} classes", layer
    if width < _FEW and flat and skill < _LESS:
        return f"{layer} has {count(width, 'unit')} to tell all by", layer
    return None


def _nothing(
    learning: Learning, trained: float, held: float, size: int, *, lucky: float
) -> bool:
    """Does the network know no more than a constant guess, on either side of the split?"""
    guess, skill = learning.guess_loss, learning.validation_skill
    if guess is None:
        # Answers that go with the targets know something: the rest may be noise.
        return skill is not None and skill < _NOTHING and not learning.follows
    # The loss tells less knowledge than the error does: half of a plane is right by luck. What
    # knows as much as half of the plane, and is as sure as it may be, costs less than that.
    least = (1.0 - _NO_LOSS) * guess
    by_chance = size / (2.0 * learning.examples) if learning.examples else 0.0
    told = held > least and trained > min(least, guess - 2.0 * by_chance)
    return told and (skill or 0.0) < lucky


def _flat(shape: Curve, scale: float) -> bool:
    """Would as many steps again change little?"""
    half = len(shape.levels) // 2
    slope = float(theilslopes(shape.levels[half:], shape.steps[half:]).slope)
    return abs(slope) * float(shape.steps[-1] - shape.steps[0]) < _FLAT * scale


def _constant(tables: Mapping[str, Predictions]) -> bool:
    chosen = held_out(tables)
    if chosen is None:
        return False
    answers = chosen[1].predictions
    if not chosen[1].are_labels:
        return bool(np.ptp(answers.astype(np.float64)) == 0.0)
    return max(Counter(answers).values()) >= _SAME * len(answers)


def _moves(updates: LayerHistory | None, weights: LayerHistory) -> bool:
    """Does the optimizer make steps of a usual size? True when nothing says so."""
    if updates is None or not matrices(updates):
        return True
    _, ratios = update_ratio(updates, weights)
    return len(ratios) == 0 or not float(typical(ratios)) < _MOVING


def _narrowest(weights: LayerHistory) -> tuple[str, int] | None:
    """The narrowest hidden layer and its units (from its bias).

    Only where the next layer takes these units and no others: gates are narrow on purpose.
    """
    linear = [i for i in range(len(weights.layers)) if weights.kinds[i] == "Linear"]
    widths = {
        int(weights.depth[i]): (int(weights.count[i]), weights.module(i))
        for i in linear
        if weights.layers[i].endswith(".bias")
    }
    sizes = {int(weights.depth[i]): int(weights.count[i]) for i in matrices(weights)}
    narrow = [
        (width, layer)
        for (depth, (width, layer)), after in pairwise(sorted(widths.items()))
        if sizes.get(after[0]) == width * after[1][0]
    ]
    if not narrow:
        return None
    width, layer = min(narrow)
    return layer, width
