"""The inputs are far from the scale that networks start out for.

What it looks for:
    Inputs whose typical size (root mean square over features and examples) is above 30 or below
    0.01, in a run that does not learn; or that learns poorly, with the first of its bounded
    layers (tanh, sigmoid) at its bounds before the first step. Inputs are taken as the model
    gets them, in many batches.

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

from backslide_detector.checks.batches import typical
from backslide_detector.checks.layers import at_bounds
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Batches, LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import magnitude

_LARGE = 30.0
_SMALL = 0.01
_UNEVEN = 1e3


def check(
    batches: Batches, learning: Learning, activations: LayerHistory | None = None
) -> Found | Clear | Skipped:
    """Judges the typical size of the inputs."""
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
