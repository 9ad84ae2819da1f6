"""What the network answered and what it should have: targets, read from a gradient.

The gradient of a loss at the output says what the target was. Softmax with cross-entropy leaves
p - onehot, up to a factor: the one negative number of a row is at the target. A sigmoid leaves
p - y, squared errors leave o - y. Signs and ratios suffice for classes, so that the scale of
mixed precision, the batch's size and weights of examples do not matter. For numbers the factor
must be known; that of a mean of squares is assumed, and the loss that follows from it is kept
beside, to be compared with the one that was logged.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN: Final = float("nan")

ENOUGH: Final = 0.95
"""Share of the examples that must agree with a reading."""

FAINT: Final = 1e-5
"""Share of a batch's strongest pull below which rounding decides how an example is pulled: its
answer is right, and sure."""

EVEN: Final = 0.02
"""Ratios that vary by less than this share are one number: rounding of half precision."""


@dataclass(frozen=True)
class Answers:
    """The columns of `contract.BATCHES_SCHEMA` that describe outputs."""

    answers: str = ""
    outputs: int = 0
    output_low: float = NAN
    output_high: float = NAN
    output_spread: float = NAN
    predictions: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()
    target_low: float = NAN
    target_high: float = NAN
    target_spread: float = NAN
    loss: float = NAN
    gradient_balance: float = NAN
    cross_entropy: float = NAN


@dataclass(frozen=True, eq=False)
class _Pull:
    """A gradient at n outputs of k numbers, with the sums that are asked for more than once.

    Attributes:
        gradient, size: shape (n, k): the numbers, and without their signs.
        whole, balanced: shape (n,): sum of an example's sizes; whether those up and down are
            about as large.
    """

    gradient: Floats
    size: Floats
    whole: Floats
    balanced: NDArray[np.bool_]

    @classmethod
    def of(cls, gradient: Floats) -> Self:
        """Works the sums out."""
        size = np.abs(gradient)
        whole = np.add.reduce(size, 1)
        net = np.abs(np.add.reduce(gradient, 1))
        return cls(gradient, size, whole, net <= EVEN * whole)

    def of_those(self, rows: NDArray[np.bool_]) -> "_Pull":
        """That of some examples."""
        if np.count_nonzero(rows) == len(rows):
            return self
        return _Pull(
            self.gradient[rows], self.size[rows], self.whole[rows], self.balanced[rows]
        )


def read(
    output: Floats,
    gradient: Floats | None,
    *,
    examples: int,
    width: int | None = None,
    listed: bool = True,
) -> Answers:
    """Predictions, and targets where the gradient tells them.

    Args:
        output: what the network answered, shape (n, k).
        gradient: of the loss by it, shape (n, k); None when there was none.
        examples: size of the whole batch, of which n are at hand.
        width: numbers of an example, of which k are at hand; k without it.
        listed: the k numbers may be one a class, as those of a picture are not.
    """
    low, high, finite = _range(output)
    outside = Answers(
        outputs=width or output.shape[1],
        output_low=low,
        output_high=high,
        output_spread=_spread(output),
    )
    if gradient is None or gradient.shape != output.shape or not finite:
        return outside
    pull = _Pull.of(gradient)
    told = pull.whole > 0
    if not np.count_nonzero(told) or not math.isfinite(np.add.reduce(pull.whole)):
        return outside
    if len(output) == examples:
        outside = replace(outside, gradient_balance=_balance(pull))
    felt = pull.whole > FAINT * np.maximum.reduce(pull.whole)
    classes = _classes_of(output, pull, felt) if listed else None
    if classes is not None:
        predictions, targets = classes
        targets = np.where(told & ~felt, predictions, targets)
        return replace(
            outside,
            answers="classes",
            predictions=tuple(predictions.tolist()),
            targets=tuple(targets.tolist()),
            loss=_loss("classes", output, targets),
            cross_entropy=_cross_entropy(output[felt], pull.of_those(felt), targets[felt]),
        )
    wanted = output - gradient * (examples * outside.outputs / 2)
    one = output.shape[1] == 1
    return replace(
        outside,
        answers="values" if one else "vectors",
        predictions=tuple(output[:, 0].tolist()) if one else (),
        targets=tuple(wanted[:, 0].tolist()) if one else (),
        target_low=float(wanted.min()),
        target_high=float(wanted.max()),
        target_spread=_spread(wanted),
        loss=float(np.square(output - wanted).mean()),
    )


def read_places(output: Floats, gradient: Floats) -> Answers | None:
    """Classes at places of the examples, each a row of shape (m, k); None where they are none.

    Of one number a place, those are 0 and 1; of several, only softmax with cross-entropy is
    read: pulls that add up to nothing at each place.
    """
    pull = _Pull.of(gradient)
    told = pull.whole > 0
    if not np.count_nonzero(told) or not math.isfinite(np.add.reduce(pull.whole)):
        return None
    felt = pull.whole > FAINT * np.maximum.reduce(pull.whole)
    clear = pull.of_those(felt)
    if not np.isfinite(output).all():
        return None
    if output.shape[1] == 1:
        # The one answer that a picture has at first says nothing of its loss.
        if np.ptp(output) <= EVEN * np.abs(output).max():
            return None
    elif _share(clear.balanced) < ENOUGH:
        return None
    found = _classes_of(output, pull, felt)
    if found is None:
        return None
    predictions, targets = found
    targets = np.where(told & ~felt, predictions, targets)
    return Answers(
        answers="dense",
        predictions=tuple(predictions.tolist()),
        targets=tuple(targets.tolist()),
        loss=_loss("classes", output, targets),
        cross_entropy=_cross_entropy(output[felt], clear, targets[felt]),
    )


def _spread(values: Floats) -> float:
    """Root of the variance over examples, shape (n, k), averaged over k; NaN of one example."""
    examples, numbers = values.shape
    if examples < 2 or not numbers:
        return NAN
    apart = values - np.add.reduce(values, 0) / examples
    return math.sqrt(np.einsum("ij,ij->", apart, apart) / ((examples - 1) * numbers))


def losses(kind: str, output: Floats, targets: Floats) -> tuple[float, float]:
    """Loss and error of outputs, shape (n, k), against targets, shape (n,); NaN if not known.

    The error is the share of wrong classes.
    """
    if kind not in ("classes", "dense") or not len(targets):
        return _loss(kind, output, targets), NAN
    known = ~np.isnan(targets)
    predicted = _classes(output, _are_probabilities(output))
    wrong = predicted[known] != targets[known]
    return _loss(kind, output, targets), float(wrong.mean()) if wrong.size else NAN


def _share(flags: NDArray[np.bool_]) -> float:
    """Of how many it is true; by the quickest way to count, as all here runs on cold caches."""
    return np.count_nonzero(flags) / flags.size if flags.size else NAN


def middle(values: Floats) -> float:
    """The median of a few numbers; `np.median` takes ten times as long for them."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    if last < 0 or ordered[last] != ordered[last]:  # what is no number is sorted to the end
        return NAN
    return float((ordered[last // 2] + ordered[(last + 1) // 2]) / 2)


def _range(output: Floats) -> tuple[float, float, bool]:
    """Smallest and largest finite number, NaN if there is none, and whether all are finite."""
    low = float(np.minimum.reduce(output, axis=None, initial=np.inf))
    high = float(np.maximum.reduce(output, axis=None, initial=-np.inf))
    if math.isfinite(low) and math.isfinite(high):
        return low, high, True
    finite = output[np.isfinite(output)]
    if not finite.size:
        return NAN, NAN, False
    return float(finite.min()), float(finite.max()), False


def _classes_of(
    output: Floats, pull: _Pull, told: NDArray[np.bool_]
) -> tuple[Floats, Floats] | None:
    """Predicted and true classes, shape (n,); None when these are no classes.

    Args:
        output: shape (n, k).
        pull: of the gradient, shape (n, k).
        told: of which examples the gradient says anything, shape (n,).
    """
    if output.shape[1] > 1:
        if not _one_hot(pull.of_those(told)):
            return None
        targets = np.where(told, pull.gradient.argmin(1), NAN)
        return _classes(output, probabilities=False), targets
    slope = pull.gradient[:, 0]
    probabilities = _are_probabilities(output)
    if not _binary(output[told, 0], slope[told], probabilities=probabilities):
        return None
    return _classes(output, probabilities), np.where(told, slope < 0, NAN)


def _balance(pull: _Pull) -> float:
    """How far a batch's gradient, shape (n, k), is from adding up to nothing."""
    size = np.add.reduce(pull.size, 0)
    felt = size > 0
    return middle(np.abs(np.add.reduce(pull.gradient, 0))[felt] / size[felt])


def _cross_entropy(output: Floats, pull: _Pull, targets: Floats) -> float:
    """Share of examples that are pulled as a cross-entropy of logits pulls them.

    That is softmax less one at one class. Mixed or smoothed targets, hinges and likelihoods of
    probabilities pull otherwise. NaN where other losses would pull alike.
    """
    gradient = pull.gradient
    if output.shape[1] == 1:
        value, slope = output[:, 0], gradient[:, 0]
        if np.ptp(value) <= EVEN * np.abs(value).max():
            return NAN
        logits = _binary(value, slope, probabilities=False)
        # Near 0 and 1 the slope hardly varies within a class, and fits either reading.
        either = logits and _are_probabilities(output) and _fits(slope, _likelihood(value))
        return NAN if either else float(logits)
    softmax = np.exp(output - np.maximum.reduce(output, 1, keepdims=True))
    softmax /= np.add.reduce(softmax, 1, keepdims=True)
    at = np.arange(len(output)), targets.astype(int)
    off, expected = gradient.copy(), softmax
    off[at] = expected[at] = 0.0
    size = np.add.reduce(np.abs(off), 1)
    scale = np.add.reduce(off, 1) / np.add.reduce(expected, 1)
    if output.shape[1] == 2:
        # One number fits any other; only over examples of a class can there be a shape.
        for label in np.unique(targets):
            scale[targets == label] = middle(scale[targets == label])
    apart = np.add.reduce(np.abs(off - scale[:, None] * expected), 1)
    return _share(pull.balanced & (size > 0) & (apart <= EVEN * size))


def _one_hot(pull: _Pull) -> bool:
    """Does each row point at one class?

    It does with one number below zero, or with one that outweighs all others (smoothed labels
    leave more than one below zero).
    """
    one = np.add.reduce(pull.gradient < 0, 1, dtype=np.intp) == 1
    most = -np.minimum.reduce(pull.gradient, 1) > 0.3 * pull.whole
    return _share(one | (pull.balanced & most)) >= ENOUGH


def _are_probabilities(output: Floats) -> bool:
    """One number an example, between 0 and 1: what a sigmoid leaves."""
    return output.shape[1] == 1 and bool(((output >= 0) & (output <= 1)).all())


def _binary(value: Floats, slope: Floats, *, probabilities: bool) -> bool:
    """Is the gradient one of two classes'? Then it has a known shape on either side of zero."""
    if np.ptp(value) <= EVEN * np.abs(value).max():
        # Outputs that are all alike make any gradient fit: two levels of it mean two classes.
        up, down = slope > 0, slope < 0
        return bool(up.any() and down.any()) and _even(slope[up]) and _even(slope[down])
    sigmoid = 1 / (1 + np.exp(-np.clip(value, -60, 60)))
    readings = [(sigmoid, 1 - sigmoid)]
    if probabilities:
        readings += [_likelihood(value), (value, 1 - value)]
    return any(_fits(slope, reading) for reading in readings)


def _likelihood(value: Floats) -> tuple[Floats, Floats]:
    """How a cross-entropy of probabilities pulls where the class is 0, and where it is 1."""
    inside = np.clip(value, 1e-6, 1 - 1e-6)
    return 1 / (1 - inside), 1 / inside


def _fits(slope: Floats, reading: tuple[Floats, Floats]) -> bool:
    """Has the gradient the shape that it has for class 0 or 1, up to a factor for each?"""
    zero, one = reading
    up, down = slope > 0, slope < 0
    both = bool(up.any() and down.any())
    return (
        _even(slope[up] / zero[up])
        and _even(slope[down] / one[down])
        and (both or _varies((zero if up.any() else one)[up | down]))
    )


def _varies(shape: Floats) -> bool:
    """Is there a shape to be recognised? A constant fits all outputs that ran away."""
    return bool(np.ptp(shape) > 5 * EVEN * np.abs(shape).max())


def _even(ratios: Floats) -> bool:
    """Are all of these nearly one number?"""
    if not len(ratios):
        return True
    centre = middle(ratios)
    return bool((np.abs(ratios - centre) <= EVEN * abs(centre)).mean() >= ENOUGH)


def _classes(output: Floats, probabilities: bool) -> Floats:
    """The class that each row of outputs, shape (n, k), answers with."""
    if output.shape[1] > 1:
        return np.asarray(output.argmax(1), np.float64)
    return np.asarray(output[:, 0] > (0.5 if probabilities else 0.0), np.float64)


def _loss(kind: str, output: Floats, targets: Floats) -> float:
    """Cross-entropy of logits in nats, or mean of squares; NaN where nothing is known."""
    known = ~np.isnan(targets)
    count = np.count_nonzero(known)
    if not count:
        return NAN
    if count < len(known):
        output, targets = output[known], targets[known]
    if kind == "values":
        return float(np.square(output[:, 0] - targets).mean())
    if output.shape[1] == 1:
        if _are_probabilities(output):
            right = np.where(targets > 0, output[:, 0], 1 - output[:, 0])
            return float(-np.log(np.maximum(right, 1e-12)).mean())
        signed = np.where(targets > 0, -output[:, 0], output[:, 0])
        return float(np.logaddexp(0, signed).mean())
    highest = np.maximum.reduce(output, 1, keepdims=True)
    total = highest[:, 0] + np.log(np.add.reduce(np.exp(output - highest), 1))
    right = output[np.arange(count), targets.astype(int)]
    return float(np.add.reduce(total - right)) / count
