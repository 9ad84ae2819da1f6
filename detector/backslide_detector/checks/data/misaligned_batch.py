"""Examples, or examples and targets, get mixed up within the batch.

What it looks for:
    One of four. In extra evaluations, outputs of examples that stayed the same changed when
    other examples of the batch were replaced: what belongs to one example reaches others.
    Together with poor learning this is a finding, and always where an attention or recurrent
    layer takes the batch for the sequence. Or: one and the same example comes with another
    target each time it is seen, so that the targets agree no better than by chance, in a run
    that learns poorly. Or: all examples of a batch are pulled to one number, the mean of their
    targets, while batches differ (a loss over shapes that broadcast). Or: the gradients at the
    output add up to zero over each batch, as they only do where the loss weighs examples
    against each other (a softmax over dimension 0), in a run that learns poorly, and always
    where there is one output a class.

Why it matters:
    The network is asked to answer for one example with the data of another.

What usually causes it:
    A reshape where a transpose was meant, an operation over the batch axis, or inputs and
    targets shuffled apart.

What to do:
    Look for `reshape` or `view` where `transpose` was meant, for `batch_first=True` missing in
    an attention or recurrent layer, for a softmax or mean over dimension 0, for inputs and
    targets shuffled or shifted apart, and for a loss of shapes (n, 1) and (n).

When it is wrong:
    Some networks mix examples on purpose (batch statistics without running averages, whole
    graphs, minibatch discrimination): if they learn, it is a note. Inputs with few distinct
    values have several targets by nature; fewer than 20 distinct examples are not judged, and
    neither are augmented ones, which never come again.

References:
    Karpathy (2019), A Recipe for Training Neural Networks: use backprop to chart dependencies.
    Cohen (1960), A Coefficient of Agreement for Nominal Scales, for targets seen twice.
"""

from collections.abc import Iterator

import numpy as np

from backslide_detector.checks.batches import (
    are_classes,
    known_targets,
    targets_left,
    trusted,
)
from backslide_detector.checks.curve import is_finite
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Batches, Floats, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_MIXED = 1e-3
_PAIRS = 25
_GONE = 0.3
_HALF = 0.5
_LEFT = 0.05
_DISTINCT = 20
_AGREE = 0.2
_FEW_BATCHES = 10
_ONE_NUMBER = 1e-3
_FEW_EXAMPLES = 4
_AWAY = 1e6
_NOTHING = 1e-5  # of float32 rounding alone; training to the end of a plain loss leaves more


def check(
    batches: Batches, learning: Learning, loss: Series | None = None
) -> Found | Clear | Skipped:
    """Reads the trials, then compares targets of examples seen twice, then within batches."""
    mixing = batches.numbers["mixing"]
    tried = np.flatnonzero(np.isfinite(mixing))
    agreement = _agreement(batches, loss)
    if not len(tried) and agreement is None and not any(batches.answers):
        return Skipped("the batches could be neither tried nor told apart")
    poor = learning.poor or learning.generalises is False
    notes = []
    if len(tried) and (mixed := float(np.median(mixing[tried]))) > _MIXED:
        found = _mixed(batches, tried, mixed, learning, poor=poor)
        if isinstance(found, Found):
            return found
        notes.append(found)
    kept = targets_left(batches, loss)
    stable = kept is None or kept > _GONE  # else the targets are made of the answers
    if agreement is not None and _by_chance(*agreement) and poor and stable:
        value, pairs = agreement
        return Found(
            Severity.FAILING if learning.failing else Severity.WARNING,
            f"Examples that were seen twice came with targets that agree as if by chance "
            f"({value:.2f} on a scale from 0 to 1, {pairs} pairs). {learning.sentence}",
            "Check that inputs and targets are shuffled, cut and augmented together.",
            since_step=int(batches.steps[0]),
            numbers={"agreement": value, "pairs": float(pairs)},
            stop=learning.failing,
        )
    fit = learning.state is not State.LEARNING or learning.leaves(_LEFT)
    if fit and not (learning.diverged or _ran_away(loss)) and _one_number(batches, loss):
        return Found(
            Severity.FAILING if learning.failing else Severity.WARNING,
            f"In {len(batches)} batches the loss pulls all examples of a batch to one number. "
            f"{learning.sentence}",
            "Give outputs and targets the same shape: (n, 1) and (n) broadcast to (n, n).",
            since_step=int(batches.steps[0]),
            numbers={"batches": float(len(batches))},
        )
    a_class_each = bool((batches.numbers["outputs"] == learning.classes).all())
    if (balance := _balance(batches)) is not None and (learning.poor or a_class_each):
        return Found(
            Severity.FAILING if learning.failing else Severity.WARNING,
            f"In {len(batches)} batches the gradients at the output add up to {balance:.0e} of "
            "their size over the batch: the loss weighs examples against each other. "
            f"{learning.sentence}",
            "Look for a softmax or a norm over dimension 0 between the output and the loss.",
            since_step=int(batches.steps[0]),
            numbers={"balance": balance},
        )
    return Clear(" ".join(notes) or None)


def _mixed(
    batches: Batches, tried: np.ndarray[tuple[int], np.dtype[np.int64]], mixed: float,
    learning: Learning, *, poor: bool,
) -> Found | str:  # fmt: skip
    """What the trials found: a defect, or only a note."""
    layer = next((batches.names["mixing_layer"][i] for i in tried[::-1]), "") or None
    structural = bool(batches.structural[tried].any())
    where = f" from {layer!r} on" if layer else ""
    text = (
        f"Replacing some examples of a batch changed the outputs of the others by {mixed:.1%} "
        f"of their size{where}"
    )
    if structural:
        text += ", a layer that takes the batch for the sequence"
    elif not poor:
        return f"{text}; the run learns."
    return Found(
        Severity.FAILING if poor else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Give the layer batch_first=True, or put the sequence first."
        if structural
        else "Look for reshape or view in place of transpose, and for operations over "
        "dimension 0.",
        layer=layer,
        since_step=int(batches.steps[tried[0]]),
        numbers={"mixing": mixed},
    )


def _agreement(batches: Batches, loss: Series | None) -> tuple[float, int] | None:
    """How far targets of one example agree, 0 for chance and 1 for always; and pairs seen.

    Cohen's kappa for classes, the correlation for numbers.
    """
    first: dict[object, float] = {}
    pairs = []
    for example, target in _answered(batches, loss):
        if target != target:  # noqa: PLR0124 - not known
            continue
        if example in first:
            pairs.append((first[example], target))
        else:
            first[example] = target
    if len(pairs) < _PAIRS or len(first) < _DISTINCT:
        return None
    before, now = np.array(pairs).T
    classes = are_classes(batches) or "dense" in batches.answers
    return (_kappa if classes else _correlation)(before, now), len(pairs)


def _answered(batches: Batches, loss: Series | None) -> Iterator[tuple[object, float]]:
    """Examples with their known targets; of many places, each place of an example by itself."""
    for index, _ in known_targets(batches, loss):
        digests, targets = batches.digests[index].tolist(), batches.targets[index].tolist()
        yield from zip(digests, targets, strict=False)
    for index in np.flatnonzero([kind == "dense" for kind in batches.answers]).tolist():
        digests, targets = batches.digests[index].tolist(), batches.targets[index].tolist()
        each = len(targets) // max(len(digests), 1)
        if each * len(digests) == len(targets):  # as many examples were looked at
            for place, target in enumerate(targets):
                # Of batches of other sizes, other places were looked at.
                yield (digests[place // each], each, place % each), target


def _by_chance(value: float, pairs: int) -> bool:
    """Is the agreement low, and surely (by Fisher's z, 99.9 %) less than a half?"""
    highest = np.tanh(np.arctanh(min(value, 0.999)) + 3.09 / np.sqrt(max(pairs - 3, 1)))
    return value < _AGREE and bool(highest < _HALF)


def _kappa(before: Floats, now: Floats) -> float:
    observed = float((before == now).mean())
    classes = np.unique(np.concatenate([before, now]))
    chance = float(sum((before == k).mean() * (now == k).mean() for k in classes))
    return 1.0 if chance >= 1.0 else (observed - chance) / (1.0 - chance)


def _correlation(before: Floats, now: Floats) -> float:
    if before.std() == 0.0 or now.std() == 0.0:
        return 1.0
    return float(np.corrcoef(before, now)[0, 1])


def _ran_away(loss: Series | None) -> bool:
    """Were outputs once so large that rounding left nothing of their targets?"""
    values = np.empty(0) if loss is None else loss.values[is_finite(loss.values)]
    return bool(len(values)) and float(values.max()) > _AWAY * max(abs(float(values[0])), 1.0)


def _one_number(batches: Batches, loss: Series | None) -> bool:
    """Are the targets inferred for a batch one and the same, and another in each batch?

    They are not trusted here: it is the loss of another shape that gives itself away.
    """
    if loss is None or not len(loss):
        return False
    wrong = ~trusted(batches, loss)
    several = [
        targets
        for index, targets in enumerate(batches.targets)
        if wrong[index] and len(targets) > 2 and batches.answers[index] == "values"
    ]
    if len(several) < _FEW_BATCHES:
        return False
    within = np.array([np.ptp(targets) for targets in several])
    between = float(np.std([targets.mean() for targets in several]))
    return bool(between > 0.0 and np.median(within) <= _ONE_NUMBER * between)


def _balance(batches: Batches) -> float | None:
    """What is left of the gradients added up over a batch, if next to nothing; else None."""
    balance = batches.numbers["gradient_balance"]
    several = np.isfinite(balance) & (batches.examples > _FEW_EXAMPLES)
    several &= batches.numbers["outputs"] != batches.examples  # each example against each
    if several.sum() < _FEW_BATCHES:
        return None
    typical = float(np.median(balance[several]))
    return typical if typical < _NOTHING else None
