"""The network is too simple for its data.

What it looks for:
    A finished run whose training loss is flat over its second half, within 1.5 % of
    what always guessing the class shares costs, or of what so many weights gain by chance (for
    numbers: R² below 0.05, and answers that do not go with the targets), with the validation
    loss, if there is one, beside it and no better than that guess, although the weights move
    and there are fewer of them than training examples. Or one that ends far from its aim (a
    quarter or more left to learn) behind a layer with fewer than a third as many units as there
    are classes, which are all that the next layer gets; or one that lies flat with half or more
    left to learn behind a layer of one or two units. Or one that knows far less than a
    reference without any training: of up to 2,000 training examples
    that `run.log_data` saw, each is answered by a vote of the five nearest others. Where this
    leaves at most half of what the network leaves (and the network two fifths or more, on
    training and on held-out data), the answers are in the inputs, and it has not found them.

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
    does clearly better than guessing and no worse than its neighbours is left alone: it may be
    the best that the data allows. Examples that come in close pairs (windows that overlap,
    jittered copies) make neighbours look wiser than they are.

References:
    Goodfellow, Bengio & Courville (2016), Deep Learning, section 5.2. Karpathy (2019), A
    Recipe for Training Neural Networks: overfit first. Fewer weights than examples cannot fit
    random labels: Zhang et al. (2017), ICLR. With ever more examples the nearest one errs at
    most twice as often as the best there can be: Cover & Hart (1967). What a weight gains
    by chance, half a nat over all examples: Wilks (1938); Akaike (1974).
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy.stats import theilslopes

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import spread
from backslide_detector.checks.curve import Curve, latest
from backslide_detector.checks.layers import matrices, narrowest, typical, update_ratio
from backslide_detector.checks.learning import FEW_STEPS, Learning
from backslide_detector.checks.nearest import beside_neighbours
from backslide_detector.evidence import Batches, LayerHistory, Predictions, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_NOTHING = 0.05
_NO_LOSS = 0.015
_LITTLE = 0.25
_HALF = 0.5
_TINY = 100  # weights; where the size of the data is not known
_LEFT = 0.75
_FLAT = 0.15
_STILL = 0.5
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
    loss: Series,
    weights: LayerHistory,
    validation_loss: Series | None = None,
    updates: LayerHistory | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Looks for a flat, high loss on both sides of the split, and for what does better."""
    shape = learning.curve
    if not run.finished:
        return Skipped("the run goes on")
    if shape is None or shape.n < FEW_STEPS:
        return Skipped("fewer than 100 training losses")
    told = spread(batches, loss) if batches is not None else None
    explained = None if told is None else told.explained
    if not learning.measured and explained is None:
        return Skipped("neither classes nor numbers to be learned are known")
    held = shape.final if validation_loss is None else latest(validation_loss)
    held = np.inf if held is None else held
    variance = told.variance if told is not None else None
    scale = learning.guess_loss or variance or abs(shape.final)
    # One answer to everything is no lack of capacity.
    straight = len(matrices(weights)) == 1  # for want of a slope it may answer with a constant
    if not _moves(updates, weights) or (_constant(predictions or {}) and not straight):
        return Clear()
    size = int(weights.count.sum())
    nothing = _nothing(learning, shape.final, held, size, lucky=_HALF if straight else _LITTLE)
    flat, neighbours = _flat(shape, scale), beside_neighbours(run, learning)
    ahead = max(0.0, -_ahead(shape))
    gain = ahead / max(scale, shape.initial)
    outdone = neighbours is not None and neighbours.outdone(gain)
    reason = None
    if abs(held - shape.final) < _BESIDE * scale:
        reason = _few(learning, size) if nothing and flat else None
        reason = reason or _narrow(learning, weights, explained, flat=flat or outdone)
    # A network that learns nothing at all is seldom too small.
    may = not learning.failing or size < (learning.examples or 0)
    done = ahead < max(_STILL * (shape.initial - shape.final), _NO_LOSS * scale)
    carries_over = held < shape.final + _BESIDE * scale
    if reason is None and neighbours is not None and outdone and may and done and carries_over:
        reason = neighbours.sentence, None
    if reason is None:
        return Clear()
    text, layer = reason
    return Found(
        Severity.FAILING if nothing else Severity.WARNING,
        f"{_losses(shape.final, validation_loss, flat=flat)}, and {text}. {learning.sentence}",
        "Add units or layers, or inputs that tell more; more data of the same kind is no help.",
        layer=layer,
        since_step=int(shape.steps[len(shape.steps) // 2]),
        numbers={"training_loss": shape.final, "weights": float(weights.count.sum())},
    )


def _losses(trained: float, validation_loss: Series | None, *, flat: bool) -> str:
    """Where the losses end."""
    held = latest(validation_loss)
    if held is None:
        return f"The training loss {'lies flat' if flat else 'ends'} at {trained:.3g}"
    where = "lie flat" if flat else "end"
    return f"Training and validation loss {where} at {trained:.3g} and {held:.3g}"


def _few(learning: Learning, size: int) -> tuple[str, str | None] | None:
    """Are there fewer weights than examples?"""
    if size >= (learning.examples or _TINY):
        return None
    examples = f" for {learning.examples:,} examples" if learning.examples else ""
    return f"the network has {size:,} weights{examples}", None


def _narrow(
    learning: Learning, weights: LayerHistory, explained: float | None, *, flat: bool
) -> tuple[str, str | None] | None:
    """(What is too narrow, the layer); None when nothing is known to be."""
    narrow, classes = narrowest(weights), learning.classes or 0
    if narrow is None:
        return None
    layer, width = narrow
    skill = learning.skill or 0.0
    if width < _NARROW * classes and skill < _LEFT:
        return f"{layer} has {count(width, 'unit')} for {classes} classes", layer
    if explained is None:
        tight = width < _FEW and skill < _LESS
    else:  # what rebuilds its input may be narrow on purpose, but hardly so narrow
        tight = width == 1 and explained < _LESS
    return (
        (f"{layer} has {count(width, 'unit')} to tell all by", layer)
        if tight and flat
        else None
    )


def _nothing(
    learning: Learning, trained: float, held: float, size: int, *, lucky: float
) -> bool:
    """Does the network know no more than a constant guess, on either side of the split?"""
    guess, skill = learning.guess_loss, learning.validation_skill
    if guess is None:
        skill = learning.explained if skill is None else skill
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
    return abs(_ahead(shape)) < _FLAT * scale


def _ahead(shape: Curve) -> float:
    """What as many steps again would add to the loss, as its second half goes."""
    half = len(shape.levels) // 2
    slope = float(theilslopes(shape.levels[half:], shape.steps[half:]).slope)
    return slope * float(shape.steps[-1] - shape.steps[0])


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
