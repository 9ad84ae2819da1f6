"""The loss expects something else than the network puts out.

What it looks for:
    One of seven. Outputs of a softmax, sigmoid or tanh, or such as reach 1 and never pass it,
    while the gradient at the output is that of a cross-entropy which takes them for logits
    (one of classes, or a binary one of several labels). In a run that learns poorly, outputs of
    a ReLU, or such as reach 0 and never pass it, likewise. The gradient of a binary
    cross-entropy whose targets are two other numbers than 0 and 1. Squared errors whose targets
    shrink with the answers, to less than a third of their first spread, while nothing is
    learned about held-out data: the answers are compared with something made of them. A loss of
    classes that falls below zero, which a cross-entropy cannot: a likelihood of raw scores, or
    of probabilities whose logarithm was forgotten. A loss that was exactly zero from the first
    step on: a cross-entropy over a single output. Or, from the curve alone: a cross-entropy of
    K classes that settles on ln(e + K - 1) - 1 (1.461 for ten classes), the lowest value that
    probabilities taken for logits can reach, while most examples are right.

Why it matters:
    With a second softmax the network learns, but with weak gradients and no confidence; the
    loss cannot fall further, and early stopping and comparisons of losses mislead. A likelihood
    of raw scores is lowered without end by larger scores, right or wrong, and so is a binary
    cross-entropy of targets -1 and 1. Logits that cannot be negative rule no class out, and
    those of units that are off for all examples get no gradient.

What usually causes it:
    An activation at the end of the model that the loss applies again.

What to do:
    Remove the softmax at the end of the model: `CrossEntropyLoss` takes logits, and so does
    `BCEWithLogitsLoss`. With `LogSoftmax`, use `NLLLoss`. For one output a class use
    `CrossEntropyLoss`, for a single output `BCEWithLogitsLoss`.

When it is wrong:
    Objectives with negative parts (an entropy bonus, a likelihood of numbers) may fall below
    zero: they are left alone unless the gradient at the output points at one class an example
    in another way than a cross-entropy does. Strong label smoothing has a floor too, at another
    height. With fewer than eight classes the floor is not peculiar enough, so a Softmax module
    must have been seen.

References:
    PyTorch documentation, torch.nn.CrossEntropyLoss ("unnormalized logits"), torch.nn.NLLLoss.
    Floor: with probability 1 on the right class, -ln(e / (e + K - 1)).
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide_detector.checks.batches import FEW, are_classes, targets_left, typical
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, LayerHistory, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SLACK: Final = 0.05
_RIGHT: Final = 0.8
_PECULIAR: Final = 8
_FEW_BATCHES: Final = 10
_FEW_LOSSES: Final = 20
_NEARLY_ALL: Final = 0.95
_REACHED: Final = 0.95
_EXACT: Final = 50.0
_PLACED: Final = 0.002
_SOME: Final = 0.1
_SHRUNK: Final = 0.3
_HITS: Final = 3
_VARIED: Final = 0.1
_ROUNDING: Final = 0.01
_CUTTING: Final = ("ReLU", "ReLU6", "Softplus")
_SQUASHING: Final[Mapping[str, float]] = MappingProxyType(
    {"Softmax": 0.0, "Sigmoid": 0.0, "Tanh": -1.0, "Softsign": -1.0}
)
"""Lowest output of what squashes, by class."""


def check(
    learning: Learning,
    *,
    activations: LayerHistory | None = None,
    gradients: LayerHistory | None = None,
    batches: Batches | None = None,
    loss: Series | None = None,
    validation_loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Reads the gradient at the output, then the sign of the loss, then its floor."""
    found = _nothing(learning, loss)
    if batches is not None:
        found = found or _always_one(batches, learning, gradients)
        found = found or _other_targets(batches, learning)
        found = found or _own(batches, learning, loss, validation_loss)
    if batches is not None and (labels := _of_labels(batches)).any():
        found = found or _squashed(batches, labels, learning, activations)
    if batches is not None and are_classes(batches):
        found = found or _squashed(batches, _of_classes(batches), learning, activations)
        found = found or _cut_off(batches, learning, activations)
    if batches is not None and _were_classes(batches):
        found = found or _below_zero(batches, learning)
    if batches is None or not _free(batches):
        found = found or _floor(learning, activations)
    if found is not None:
        return found
    if batches is None and (learning.classes is None or learning.curve is None):
        return Skipped("needs a training loss with class counts and an error, or batches")
    return Clear()


def _own(
    batches: Batches, learning: Learning, loss: Series | None, validation_loss: Series | None
) -> Found | None:
    """Targets that follow the answers, and not the data."""
    left = targets_left(batches, loss)
    if left is None or left > _SHRUNK:
        return None
    held = learning.validation_skill
    if held is None and validation_loss is not None and len(validation_loss):
        held = 1.0 - validation_loss.last / abs(float(validation_loss.values[0]))
    if held is None or held >= _SOME:
        return None
    return Found(
        Severity.FAILING,
        f"The targets that the loss pulls to shrank to {left:.2g} of their first spread, and "
        f"nothing is learned about held-out data: they follow the answers. {learning.sentence}",
        "Look at the second argument of the loss: it must be the targets of the batch, and "
        "nothing that is computed from the output.",
        since_step=int(batches.steps[0]),
        numbers={"left": left},
    )


def _of_classes(batches: Batches) -> NDArray[np.bool_]:
    """In which batches a cross-entropy of classes takes the outputs for logits, shape (s,)."""
    fits = batches.numbers["cross_entropy"]
    told = np.isfinite(fits)
    sure = told.any() and np.median(fits[told]) >= _NEARLY_ALL
    return told if sure else np.zeros(len(batches), dtype=np.bool_)


def _of_labels(batches: Batches) -> NDArray[np.bool_]:
    """The same of a mean of binary cross-entropies, which has a gradient of its own.

    It is sigmoid less target, over their number. Targets were read as those of a mean of
    squares: from the lowest and the highest output, both have a place that follows from it,
    unless these two happen to have the rarer target.
    """
    numbers = batches.numbers
    low, high = numbers["output_low"], numbers["output_high"]
    off = numbers["target_low"] - (low - _sigmoid(low) / 2.0)
    on = numbers["target_high"] - (high + (1.0 - _sigmoid(high)) / 2.0)
    near = _PLACED * (numbers["target_high"] - numbers["target_low"])
    several = np.array([kind == "vectors" for kind in batches.answers], dtype=np.bool_)
    several &= np.isfinite(off) & np.isfinite(on)
    told = min((np.abs(gap[several]) <= near[several]).sum() for gap in (off, on))
    sure = told >= max(_HITS, _SOME * several.sum())
    return several if sure else np.zeros(len(batches), dtype=np.bool_)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-values.clip(-_EXACT, _EXACT))), dtype=np.float64)


def _squashed(
    batches: Batches,
    told: NDArray[np.bool_],
    learning: Learning,
    activations: LayerHistory | None,
) -> Found | None:
    """Probabilities that the loss takes for logits, in the batches that tell of it."""
    numbers = batches.numbers
    told = told & np.isfinite(numbers["output_low"]) & np.isfinite(numbers["output_high"])
    if told.sum() < _FEW_BATCHES:
        return None
    lows, highs = numbers["output_low"][told], numbers["output_high"][told]
    low, high = float(lows.min()), float(highs.max())
    kind, last = "", None
    if activations is not None and low >= _SQUASHING.get(activations.kinds[-1], np.inf):
        kind, last = activations.kinds[-1], activations.layers[-1]
    # Without a module that says so: outputs that reach a bound, and never pass it.
    # Nor are logits ever all above 0 and below 1.
    inside = low > 0.0 and high < 1.0 and are_classes(batches)
    late = np.fmax(-lows, highs)[told.sum() // 2 :]
    if low >= 0.0 and not are_classes(batches):  # labels that are rare push them down to 0
        late = np.fmax(late, 1.0 - lows[told.sum() // 2 :])
    if low < -1.0 or high > 1.0 or not (kind or inside or np.median(late) > _REACHED):
        return None
    what = f"the outputs of {last} ({kind})" if kind else "the outputs"
    return Found(
        Severity.WARNING,
        f"In {told.sum()} batches {what} lie between {low:.2g} and {high:.2g}, and the loss "
        f"takes them for logits. {learning.sentence}",
        "Remove the softmax, sigmoid or tanh at the end of the model: CrossEntropyLoss and "
        "BCEWithLogitsLoss take logits.",
        layer=last,
        since_step=int(batches.steps[0]),
        numbers={"low": low, "high": high},
    )


def _cut_off(
    batches: Batches, learning: Learning, activations: LayerHistory | None
) -> Found | None:
    """Logits that cannot be negative, in a run that learns poorly."""
    if not learning.poor or not (typical(batches, "cross_entropy") or 0.0) >= _NEARLY_ALL:
        return None
    lows = batches.numbers["output_low"][np.isfinite(batches.numbers["output_low"])]
    known = activations is not None and activations.kinds[-1] in _CUTTING
    if lows.min() < 0.0 or not (known or np.mean(lows == 0.0) > _REACHED):
        return None
    last = activations.layers[-1] if known and activations is not None else None
    what = f"the outputs of {last} ({activations.kinds[-1]})" if known and activations else None
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"In {len(lows)} batches {what or 'the outputs'} are never below zero, and the loss "
        f"takes them for logits. {learning.sentence}",
        "Remove the activation at the end of the model: logits are numbers of either sign.",
        layer=last,
        since_step=int(batches.steps[0]),
        numbers={"low": float(lows.min())},
    )


def _other_targets(batches: Batches, learning: Learning) -> Found | None:
    """A binary cross-entropy of logits with other targets than 0 and 1.

    Its gradient is sigmoid less target, over the batch's size. Targets were read as those of
    a mean of squares; read thus they are two numbers only if this is the loss.
    """
    wanted = []
    for index in np.flatnonzero(batches.numbers["outputs"] == 1).tolist():
        logits, read = batches.predictions[index], batches.targets[index]
        if batches.answers[index] != "values" or not 0 < len(logits) == len(read):
            continue
        # Outputs that are alike fit anything, and large ones leave nothing but rounding.
        if np.ptp(logits) > _VARIED and np.abs(logits).max() < _EXACT:
            wanted.append(_sigmoid(logits) - 2.0 * (logits - read))
    if len(wanted) < FEW:
        return None
    targets = np.concatenate(wanted)
    low, high = float(targets.min()), float(targets.max())
    apart = np.minimum(targets - low, high - targets)
    two = high - low > _SLACK and bool((apart <= _ROUNDING * (high - low)).all())
    if not two or (low > -_SLACK and high < 1.0 + _SLACK):
        return None
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"In {len(wanted)} batches a binary cross-entropy got the targets {low:.2g} and "
        f"{high:.2g}: with others than 0 and 1 its loss has no floor. {learning.sentence}",
        "Give BCEWithLogitsLoss targets of 0 and 1, or use SoftMarginLoss for -1 and 1.",
        since_step=int(batches.steps[0]),
        numbers={"low": low, "high": high},
    )


def _free(batches: Batches) -> bool:
    """Have the outputs ever left the range of probabilities?"""
    low, high = batches.numbers["output_low"], batches.numbers["output_high"]
    return bool((low < 0.0).any() or (high > 1.0).any())


def _were_classes(batches: Batches) -> bool:
    """The answers were classes while they could be read: what runs away soon cannot be."""
    read = [kind for kind in batches.answers if kind]
    return len(read) >= _FEW_BATCHES and read.count("classes") > len(read) / 2


def _below_zero(batches: Batches, learning: Learning) -> Found | None:
    """A loss of classes that no cross-entropy can have."""
    shape, fits = learning.curve, typical(batches, "cross_entropy")
    if shape is None or shape.final > -_SLACK or fits is None or fits >= _NEARLY_ALL:
        return None
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"The training loss of these {batches.numbers['outputs'][-1]:.0f} classes went from "
        f"{shape.initial:.3g} to {shape.final:.3g}; a cross-entropy is never below zero. "
        f"{learning.sentence}",
        _turned_or_bare(batches),
        since_step=int(shape.steps[0]),
        numbers={"initial_loss": shape.initial, "final_loss": shape.final},
    )


def _turned_or_bare(batches: Batches) -> str:
    """What to mend, as the gradient tells: a likelihood pulls at the right class alone."""
    balance = batches.numbers["gradient_balance"]
    balance = balance[np.isfinite(balance)]
    logarithms = (
        "NLLLoss takes the logarithms of probabilities: use CrossEntropyLoss, or end the model "
        "in LogSoftmax"
    )
    turned = "look for a minus in front of the loss: its sign is turned"
    if not len(balance):
        return f"{logarithms}. With CrossEntropyLoss, {turned}."
    if balance.min() > _NEARLY_ALL:  # scores that ran away pull likewise, but only later
        got = "raw scores" if _free(batches) else "probabilities"
        return f"{logarithms}; it gets {got}."
    return f"{turned[:1].upper()}{turned[1:]}."


def _nothing(learning: Learning, loss: Series | None) -> Found | None:
    """A loss that is exactly zero before anything was learned, and stays so."""
    if loss is None or len(loss) < _FEW_LOSSES or learning.first_loss != 0.0:
        return None
    if (loss.values != 0.0).any():
        return None
    return Found(
        Severity.FAILING,
        f"The training loss is exactly 0 in all {len(loss):,} steps, from the first one on: "
        "whatever the network answers costs nothing.",
        "Softmax over one output is always 1: use BCEWithLogitsLoss, or one output a class.",
        since_step=int(loss.steps[0]),
        numbers={"loss": 0.0},
        stop=True,
    )


def _always_one(
    batches: Batches, learning: Learning, gradients: LayerHistory | None
) -> Found | None:
    """A single output that is exactly 1 for every example of every batch, or 0 for good."""
    low, high = batches.numbers["output_low"], batches.numbers["output_high"]
    alike = (low == high) & (batches.numbers["outputs"] == 1.0)
    if len(batches) < _FEW_BATCHES or not alike.all() or not (low == low[0]).all():
        return None
    if low[0] == 1.0:
        why = "Softmax over one output is always 1: use BCEWithLogitsLoss without it."
    elif low[0] == 0.0 and are_classes(batches) and _without_slope(gradients):
        why = (
            "LogSoftmax over one output is always 0, and so is a ReLU of what is negative: use "
            "BCEWithLogitsLoss without either."
        )
    else:
        return None
    return Found(
        Severity.FAILING,
        f"The output is exactly {low[0]:.0f} for all examples of {len(batches)} batches. "
        f"{learning.sentence}",
        why,
        since_step=int(batches.steps[0]),
        numbers={"output": float(low[0])},
        stop=True,
    )


def _without_slope(gradients: LayerHistory | None) -> bool:
    """Did no parameter ever get a gradient, though they were measured?"""
    return gradients is not None and bool((gradients.abs_max == 0.0).all())


def _floor(learning: Learning, activations: LayerHistory | None) -> Found | None:
    """A loss that settles where a second softmax makes it settle."""
    if learning.classes is None or learning.curve is None or learning.skill is None:
        return None
    floor = math.log(math.e + learning.classes - 1) - 1.0
    softmax = activations is not None and activations.kinds[-1] == "Softmax"
    skill = learning.error_skill
    if (not softmax and learning.classes < _PECULIAR) or skill is None or skill < _RIGHT:
        return None
    shape = learning.curve
    # Each wrong answer costs up to one nat more than the floor.
    error = (1.0 - skill) * (learning.chance or 0.0)
    lowest, highest = floor - _SLACK / 2, floor + error + _SLACK
    if min(shape.best, shape.final) < lowest or shape.final > highest:
        return None
    layer = activations.layers[-1] if softmax and activations is not None else None
    return Found(
        Severity.WARNING,
        f"The training loss settles at {shape.final:.3f} although most answers are right; with "
        f"softmax applied twice it cannot fall below {floor:.3f} ({learning.classes} classes).",
        "Remove the softmax at the end of the model: CrossEntropyLoss takes logits.",
        layer=layer,
        since_step=int(shape.steps[0]),
        numbers={"loss": shape.final, "floor": floor},
    )
