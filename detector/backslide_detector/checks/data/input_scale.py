"""The inputs are far from the scale that networks start out for.

What it looks for:
    Inputs whose typical size (root mean square over features and examples) is above 30 or below
    0.01, in a run that does not learn; or that learns poorly, with the first of its bounded
    layers (tanh, sigmoid) at its bounds before the first step. Inputs are taken as the model
    gets them, in many batches. Or held-out inputs (`run.log_data`) of which a typical feature
    is ten times as spread as in training, or a tenth, or off by ten standard deviations, where
    held-out answers are no better than a constant guess. Where these inputs were not described,
    the answers tell: a validation loss that is higher than any label could make it (any target,
    for numbers), were they answered with such numbers as the network gives in training.

Why it matters:
    Weights are initialised, and learning rates chosen, for inputs of about unit size. A
    thousand times larger inputs make steps a million times too large; a single feature in
    other units drowns all the others.

What usually causes it:
    Raw features in the units they were recorded in: pixels from 0 to 255, prices,
    timestamps.

What to do:
    Standardise each feature with the mean and standard deviation of the training data, and
    use the same two numbers in validation and later on. Take the logarithm of what spans
    several orders of magnitude.

When it is wrong:
    Batch norm in front, or Adam with patience, copes with raw units: such a run learns and is
    not reported. Inputs between those limits are never reported: standardised features, one-hot
    vectors and pixels from 0 to 16 are all in order. Integers (token ids) have no scale.

References:
    LeCun et al. (1998), Efficient BackProp, section 4.3. Huang et al. (2023), Normalization
    Techniques in Training DNNs, IEEE TPAMI.
"""

import math
from collections.abc import Mapping

import numpy as np

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import FEW, trusted, typical
from backslide_detector.checks.curve import latest
from backslide_detector.checks.layers import at_bounds
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import (
    Batches,
    DataSummary,
    LayerHistory,
    Predictions,
    Series,
)
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import magnitude

_LARGE = 30.0
_SMALL = 0.01
_UNEVEN = 1e3
_CHANCE = 0.1
_LEARNED = 0.3
_NEARLY_ALL = 0.95
_APART = 10.0
_ALIKE = (
    "Prepare held-out inputs as those of training: with the same mean and standard deviation, "
    "in the same units."
)


def check(
    batches: Batches,
    learning: Learning,
    *,
    activations: LayerHistory | None = None,
    loss: Series | None = None,
    validation_loss: Series | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    data: Mapping[str, DataSummary] | None = None,
) -> Found | Clear | Skipped:
    """Judges the typical size of the inputs, then that of held-out ones."""
    in_training = _of_training(batches, learning, activations)
    skill = learning.validation_skill
    if isinstance(in_training, Found) or skill is None or skill >= _CHANCE:
        return in_training
    beyond = _of_others(batches, learning, loss, validation_loss, predictions)
    return _described(data or {}, learning) or beyond or in_training


def _of_training(
    batches: Batches, learning: Learning, activations: LayerHistory | None
) -> Found | Clear | Skipped:
    size = typical(batches, "input_rms")
    if size is None:
        return Skipped("the inputs are integers, or fewer than five batches were recorded")
    if _SMALL <= size <= _LARGE or size == 0.0:
        return Clear()
    largest, uneven = typical(batches, "input_abs_max"), typical(batches, "input_spread_ratio")
    text = f"Typical inputs are of size {size:.2g} (largest {largest or math.nan:.2g})"
    if uneven is not None and uneven > _UNEVEN:
        text += f", and features differ in spread by a factor of {magnitude(uneven)}"
    bounds = at_bounds(activations) if size > _LARGE else []
    if bounds:
        text += f", and before the first step the outputs of {bounds[0]} sit at their bounds"
    if learning.state is State.LEARNING and not (bounds and learning.poor):
        return Clear(f"{text}; the run learns.")
    if not learning.poor:
        return Skipped(f"{text}; whether the run learns cannot be told.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Standardise the features with mean and standard deviation of the training data.",
        since_step=int(batches.steps[0]),
        numbers={"size": size},
    )


def _described(data: Mapping[str, DataSummary], learning: Learning) -> Found | None:
    """Held-out inputs that were described, beside those of training."""
    train = next((data[name] for name in ("train", "training") if name in data), None)
    if train is None:
        return None
    for name, other in data.items():
        pairs = [
            (_moments(train.features[feature]), _moments(other.features[feature]))
            for feature in train.features.keys() & other.features.keys()
            if feature != "(target)"
        ]
        told = np.array([(*a, *b) for a, b in pairs if a is not None and b is not None])
        if other is train or not len(told):
            continue
        mean, spread, held_mean, held_spread = told.T
        wider = float(np.median(held_spread / spread))
        off = float(np.median(np.abs(held_mean - mean) / spread))
        if max(wider, 1.0 / max(wider, 1e-30), off) < _APART:
            continue
        return Found(
            Severity.FAILING,
            f"A typical input of {name!r} is {wider:.2g} times as spread as in training and "
            f"{off:.2g} standard deviations away. {learning.sentence}",
            _ALIKE,
            since_step=0,
            numbers={"wider": wider, "off": off},
        )
    return None


def _moments(feature: object) -> tuple[float, float] | None:
    """Mean and standard deviation of a described feature; None where it does not vary."""
    if not isinstance(feature, Mapping):
        return None
    mean, spread = feature.get("mean"), feature.get("std")
    if not isinstance(mean, float) or not isinstance(spread, float) or spread <= 0.0:
        return None
    return mean, spread


def _of_others(
    batches: Batches,
    learning: Learning,
    loss: Series | None,
    validation_loss: Series | None,
    predictions: Mapping[str, Predictions] | None,
) -> Found | None:
    """Held-out answers that lie where no answer of training ever lay."""
    held, learned = latest(validation_loss), learning.training_skill
    if held is None or learned is None or learned < _LEARNED:
        return None  # where training goes wrong too, inputs are not to blame
    ends = np.array([batches.numbers["output_low"], batches.numbers["output_high"]])
    ends = ends[:, np.isfinite(ends).all(axis=0)]
    if ends.shape[1] < FEW:
        return None
    low, high = float(ends[0].min()), float(ends[1].max())
    most = _highest_loss(batches, loss, low, high, held_out(predictions or {}))
    if most is None or not (learning.final_loss or 0.0) <= most < held:
        return None
    return Found(
        Severity.FAILING,
        f"The validation loss is {held:.3g}. With the numbers that the network answers in "
        f"training ({low:.3g} to {high:.3g}) it could be {most:.3g} at the most, whatever is "
        "right: held-out inputs are of another scale.",
        _ALIKE,
        since_step=0,
        numbers={"validation_loss": held, "highest": most},
    )


def _highest_loss(
    batches: Batches,
    loss: Series | None,
    low: float,
    high: float,
    chosen: tuple[str, Predictions] | None,
) -> float | None:
    """What answers in this range cost at the most; None where the loss is not known."""
    fits = typical(batches, "cross_entropy")
    if fits is not None and fits >= _NEARLY_ALL:
        return high - low + math.log(max(2.0, typical(batches, "outputs") or 2.0))
    known = trusted(batches, loss) & np.isfinite(batches.numbers["target_low"])
    if known.sum() < FEW or chosen is None or chosen[1].are_labels:
        return None
    targets = chosen[1].targets.astype(np.float64)
    return float(max(high - targets.min(), targets.max() - low)) ** 2
