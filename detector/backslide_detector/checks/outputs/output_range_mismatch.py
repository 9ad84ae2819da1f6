"""The targets lie where the network cannot answer.

What it looks for:
    A last layer with bounds (sigmoid, tanh, softmax, ReLU), or outputs that come near such
    bounds and never leave them, and targets beyond: on held-out predictions, else in the newest
    training batches, at least a tenth of the targets' variance is out of reach; of several
    numbers an example, targets that lie beyond a bound by a fifth of their range or more. In a
    run that learns poorly, or where two thirds and more of what answers are still wrong by
    (squared) lie beyond the bounds.

Why it matters:
    The network runs against its bound and stays there; the gradient fades, and what is beyond
    is never answered.

What usually causes it:
    A sigmoid, tanh or ReLU left at the end of a network that predicts measured values.

What to do:
    Take the activation off the last layer, or scale the targets into its range and scale the
    answers back.

When it is wrong:
    Targets that reach a little beyond the bound cost little: such a run learns and is not
    reported. Classes are not judged. In training, targets are known only where the loss is a
    mean of squares.

References:
    Wardat et al. (2022), DeepDiagnosis, ICSE: out of range problem. Goodfellow, Bengio &
    Courville (2016), Deep Learning, section 6.2.2 (output units).
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import FEW, are_squares, newest, trusted
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, LayerHistory, Predictions, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "Sigmoid": (0.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Hardtanh": (-1.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "ReLU": (0.0, np.inf),
    "ReLU6": (0.0, 6.0),
    "Softplus": (0.0, np.inf),
}
"""Where answers can lie, by the class of the last layer."""

_OUT_OF_REACH = 0.1
_BEYOND = 0.2
_AT = 0.02  # this near to one, outputs have reached it
_HALF = 0.5
_MOST = 2.0 / 3.0
_MATTERS = 0.01
_SEVERAL = 10


def check(
    learning: Learning,
    *,
    batches: Batches | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    activations: LayerHistory | None = None,
    loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Compares targets with the bounds, on held-out predictions and in training."""
    if are_squares(batches, loss) is False:
        batches = None  # by chance, targets inferred under squares may agree for a while
    table = _numbers(predictions)
    if table is None and batches is not None:
        table = _trained(batches, loss)
    wanted = None if batches is None else _wanted(batches, loss)
    if table is None and wanted is None:
        return Skipped("no predictions of numbers, and no targets known from training")
    if table is not None:
        bounds = _bounds(activations, table[1]) or _reached(*table)
    else:
        assert batches is not None  # noqa: S101 - one of the two is there
        bounds = _bounds(activations, _answered(batches)) or _never_left(batches)
    if bounds is None:
        return Clear()
    low, high = bounds
    reach = f"between {low:g} and {high:g}" if np.isfinite(high) else f"of {low:g} or more"
    if table is not None:
        targets, _ = table
        share = float(np.square(_beyond(targets, low, high)).mean() / targets.var())
        limit, ends = _OUT_OF_REACH, (float(targets.min()), float(targets.max()))
    else:
        assert wanted is not None  # noqa: S101 - one of the two is there
        share = max(wanted[1] - high, low - wanted[0]) / (wanted[1] - wanted[0])
        limit, ends = _BEYOND, wanted
    spoils = table is not None and share > _MATTERS and _spoils(*table, low, high)
    if share < limit and not spoils:
        return Clear()
    text = (
        f"The network answers with numbers {reach}, but targets lie between {ends[0]:.3g} and "
        f"{ends[1]:.3g}"
    )
    if not learning.poor and not spoils:
        return Clear(f"{text}; the run learns.")
    if spoils:
        text += ", and most of what it is wrong by lies beyond"
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Take the activation off the last layer, or scale the targets into its range.",
        layer=None if activations is None else activations.layers[-1],
        since_step=0,
        numbers={"out_of_reach": share},
    )


def _beyond(targets: Floats, low: float, high: float) -> Floats:
    """How far outside of the bounds each target lies, shape (n,)."""
    return np.maximum(targets - high, 0.0) + np.maximum(low - targets, 0.0)


def _spoils(targets: Floats, answers: Floats, low: float, high: float) -> bool:
    """Do the bounds cost most of the error that is left?

    Noise about a bound costs half of it there at the most.
    """
    missed = np.square(targets - answers).mean()
    return bool(np.square(_beyond(targets, low, high)).mean() > _MOST * missed)


def _numbers(predictions: Mapping[str, Predictions] | None) -> tuple[Floats, Floats] | None:
    """Held-out targets and predictions, where they are numbers that vary."""
    chosen = held_out(predictions) if predictions else None
    if chosen is None or chosen[1].are_labels:
        return None
    targets = chosen[1].targets.astype(np.float64)
    answers = chosen[1].predictions.astype(np.float64)
    fine = np.isfinite(targets) & np.isfinite(answers)
    targets, answers = targets[fine], answers[fine]
    return (targets, answers) if len(targets) and targets.var() > 0.0 else None


def _trained(batches: Batches, loss: Series | None) -> tuple[Floats, Floats] | None:
    """The same of the newest training batches, where answers are one number an example."""
    newer = newest(batches, loss)
    known = np.flatnonzero(trusted(batches, loss)[newer]) + newer.start
    rows = [index for index in known.tolist() if batches.answers[index] == "values"]
    if len(rows) < FEW:
        return None
    targets = np.concatenate([batches.targets[index] for index in rows])
    answers = np.concatenate([batches.predictions[index] for index in rows])
    fine = np.isfinite(targets) & np.isfinite(answers)
    targets, answers = targets[fine], answers[fine]
    return (targets, answers) if len(targets) and targets.var() > 0.0 else None


def _wanted(batches: Batches, loss: Series | None) -> tuple[float, float] | None:
    """Range of the targets in training; None where it is not known."""
    known = trusted(batches, loss) & np.isfinite(batches.numbers["target_low"])
    if known.sum() < FEW:
        return None
    low = float(np.median(batches.numbers["target_low"][known]))
    high = float(np.median(batches.numbers["target_high"][known]))
    return (low, high) if high > low else None


def _answered(batches: Batches) -> Floats:
    """Extremes of the outputs in training."""
    ends = np.concatenate([batches.numbers["output_low"], batches.numbers["output_high"]])
    return np.asarray(ends[np.isfinite(ends)], dtype=np.float64)


def _bounds(activations: LayerHistory | None, answers: Floats) -> tuple[float, float] | None:
    """Where answers can lie: by the last layer, else by what they never left, but reached."""
    last = "" if activations is None or not activations.kinds else activations.kinds[-1]
    if not len(answers):
        return None
    if last in _BOUNDS:
        low, high = _BOUNDS[last]
        return (low, high) if answers.min() >= low and answers.max() <= high else None
    if answers.min() >= 0.0 and float(np.mean(answers == 0.0)) > _HALF:
        return 0.0, np.inf  # what adds up to exactly nothing was cut off there
    reached = np.abs(np.abs(answers) - 1.0) <= _AT
    if np.abs(answers).max() <= 1.0 and float(np.mean(reached)) > _HALF:
        return (0.0 if answers.min() >= 0.0 else -1.0), 1.0
    return None


def _reached(targets: Floats, answers: Floats) -> tuple[float, float] | None:
    """The bounds of usual layers, if what lies beyond them is answered with a bound."""
    least, most = float(answers.min()), float(answers.max())
    low = 0.0 if least >= 0.0 else -1.0
    above, below = answers[targets > 1.0], answers[targets < low]
    at_top = most <= 1.0 and _typically(above) >= 1.0 - _AT
    near = _AT * (most - low)
    at_bottom = least >= low and _typically(below) <= low + near
    if not (at_top or at_bottom) or least < low:
        return None
    return low, (1.0 if at_top else np.inf)


def _typically(answers: Floats) -> float:
    """Their median; NaN of few."""
    return float(np.median(answers)) if len(answers) >= _SEVERAL else float("nan")


def _never_left(batches: Batches) -> tuple[float, float] | None:
    """The bounds of usual layers, if a typical batch comes near them, and none goes beyond."""
    ends = np.stack([batches.numbers["output_low"], batches.numbers["output_high"]])
    lows, highs = ends[:, np.isfinite(ends).all(axis=0)]
    if len(lows) < FEW:
        return None
    near = _AT * float(np.median(highs - lows))
    for low in (0.0, -1.0):
        if lows.min() >= low >= float(np.median(lows)) - near:
            top = highs.max() <= 1.0 <= float(np.median(highs)) + _AT
            return low, 1.0 if top else np.inf
    return None
