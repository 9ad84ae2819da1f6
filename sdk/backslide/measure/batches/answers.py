"""What the network answered and what it should have: targets, read from a gradient.

The gradient of a loss at the output says what the target was. Softmax with cross-entropy leaves
p - onehot, up to a factor: the one negative number of a row is at the target. A sigmoid leaves
p - y, squared errors leave o - y. Signs and ratios suffice for classes, so that the scale of
mixed precision, the batch's size and weights of examples do not matter. For numbers the factor
must be known; that of a mean of squares is assumed, and the loss that follows from it is kept
beside, to be compared with the one that was logged.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN: Final = float("nan")

ENOUGH: Final = 0.95
"""Share of the examples that must agree with a reading."""

EVEN: Final = 0.02
"""Ratios that vary by less than this share are one number: rounding of half precision."""


@dataclass(frozen=True)
class Answers:
    """The columns of `contract.BATCHES_SCHEMA` that describe outputs."""

    answers: str = ""
    outputs: int = 0
    output_low: float = NAN
    output_high: float = NAN
    predictions: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()
    loss: float = NAN


def read(output: Floats, gradient: Floats | None, *, examples: int) -> Answers:
    """Predictions, and targets where the gradient tells them.

    Args:
        output: what the network answered, shape (n, k).
        gradient: of the loss by it, shape (n, k); None when there was none.
        examples: size of the whole batch, of which n are at hand.
    """
    finite = output[np.isfinite(output)]
    kind, predictions, targets, loss = "", NONE, NONE, NAN
    if gradient is not None and gradient.shape == output.shape:
        kind, predictions, targets = _targets(output, gradient, examples)
        loss = _loss(kind, output, targets)
    return Answers(
        kind,
        output.shape[1],
        float(finite.min()) if finite.size else NAN,
        float(finite.max()) if finite.size else NAN,
        tuple(predictions.tolist()),
        tuple(targets.tolist()),
        loss,
    )


def losses(kind: str, output: Floats, targets: Floats) -> tuple[float, float]:
    """Loss and error of outputs, shape (n, k), against targets, shape (n,); NaN if not known.

    The error is the share of wrong classes.
    """
    if kind != "classes" or not len(targets):
        return _loss(kind, output, targets), NAN
    known = ~np.isnan(targets)
    predicted = _classes(output, _are_probabilities(output))
    wrong = predicted[known] != targets[known]
    return _loss(kind, output, targets), float(wrong.mean()) if wrong.size else NAN


NONE: Final[Floats] = np.empty(0)


def _targets(output: Floats, gradient: Floats, examples: int) -> tuple[str, Floats, Floats]:
    """How the answers are to be read, predictions and targets, shape (n,)."""
    told = np.abs(gradient).max(1) > 0
    if not told.any() or not np.isfinite(gradient).all() or not np.isfinite(output).all():
        return "", NONE, NONE
    if output.shape[1] > 1:
        if not _one_hot(gradient[told]):
            return "", NONE, NONE
        targets = np.where(told, gradient.argmin(1), NAN)
        return "classes", _classes(output, probabilities=False), targets
    value, slope = output[:, 0], gradient[:, 0]
    probabilities = _are_probabilities(output)
    if _binary(value[told], slope[told], probabilities=probabilities):
        targets = np.where(told, slope < 0, NAN)
        return "classes", _classes(output, probabilities), targets
    return "values", value, value - slope * examples / 2


def _one_hot(gradient: Floats) -> bool:
    """Does each row point at one class?

    It does with one number below zero, or with one that outweighs all others (smoothed labels
    leave more than one below zero).
    """
    one = (gradient < 0).sum(1) == 1
    lowest = gradient.min(1)
    balanced = np.abs(gradient.sum(1)) <= EVEN * np.abs(gradient).sum(1)
    most = -lowest > 0.3 * np.abs(gradient).sum(1)
    return float((one | (balanced & most)).mean()) >= ENOUGH


def _are_probabilities(output: Floats) -> bool:
    """One number an example, between 0 and 1: what a sigmoid leaves."""
    return output.shape[1] == 1 and bool(((output >= 0) & (output <= 1)).all())


def _binary(value: Floats, slope: Floats, *, probabilities: bool) -> bool:
    """Is the gradient one of two classes'? Then it has a known shape on either side of zero."""
    if probabilities:
        inside = np.clip(value, 1e-6, 1 - 1e-6)
        readings = [(1 / (1 - inside), 1 / inside), (value, 1 - value)]
    else:
        sigmoid = 1 / (1 + np.exp(-np.clip(value, -60, 60)))
        readings = [(sigmoid, 1 - sigmoid)]
    up, down = slope > 0, slope < 0
    if np.ptp(value) <= EVEN * np.abs(value).max():
        # Outputs that are all alike make any gradient fit: two levels of it mean two classes.
        return all(_even(slope[side]) for side in (up, down) if side.any())
    return any(
        all(_even(slope[side] / shape[side]) for side, shape in ((up, zero), (down, one)))
        for zero, one in readings
    )


def _even(ratios: Floats) -> bool:
    """Are all of these nearly one number?"""
    if not len(ratios):
        return True
    middle = np.median(ratios)
    return bool((np.abs(ratios - middle) <= EVEN * np.abs(middle)).mean() >= ENOUGH)


def _classes(output: Floats, probabilities: bool) -> Floats:
    """The class that each row of outputs, shape (n, k), answers with."""
    if output.shape[1] > 1:
        return np.asarray(output.argmax(1), np.float64)
    return np.asarray(output[:, 0] > (0.5 if probabilities else 0.0), np.float64)


def _loss(kind: str, output: Floats, targets: Floats) -> float:
    """Cross-entropy of logits in nats, or mean of squares; NaN where nothing is known."""
    known = ~np.isnan(targets)
    if not known.any():
        return NAN
    output, targets = output[known], targets[known]
    if kind == "values":
        return float(np.square(output[:, 0] - targets).mean())
    if output.shape[1] == 1:
        if _are_probabilities(output):
            right = np.where(targets > 0, output[:, 0], 1 - output[:, 0])
            return float(-np.log(np.maximum(right, 1e-12)).mean())
        signed = np.where(targets > 0, -output[:, 0], output[:, 0])
        return float(np.logaddexp(0, signed).mean())
    highest = output.max(1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(output - highest).sum(1))
    return float((total - output[np.arange(len(output)), targets.astype(int)]).mean())
