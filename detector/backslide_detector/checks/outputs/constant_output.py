"""The network answers the same to everything.

What it looks for:
    On a held-out split with at least 30 examples of several classes: one prediction for 99
    % of them. For numbers: predictions with less than a thousandth of the spread of the
    targets. Or, of several numbers an example (an autoencoder's, for instance): answers in the
    last quarter of training with less than a fiftieth of the targets' spread, which explain
    none of it, or, where the loss is no mean of squares, with no spread beyond rounding (a
    hundred-thousandth of their range).

Why it matters:
    Whatever the error says, the input plays no part in the answer.

What usually causes it:
    Dead units, steps that are too large, or an activation at the end that has one value.

What to do:
    Look at the last layer: a softmax over a single unit is always one; a ReLU can be stuck at
    zero. Then follow two examples through the layers until they become equal.

When it is wrong:
    Where one class makes up nearly all targets, answering it always is close to right; a
    class with more than nine tenths of the targets is not counted. Where another finding says
    what ruined the network, this one is withheld.

References:
    Cao et al. (2022), DeepFD, ICSE; Stack Overflow questions 31880720 and 33969059.
"""

import math
from collections.abc import Mapping

import numpy as np

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import dominated_since, newest, spread
from backslide_detector.evidence import Batches, LayerHistory, Predictions, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SAME = 0.99
_COMMON = 0.9
_SPREAD = 1e-3
_EXPLAINED = 0.03
_DIFFER = 0.01
_ONE_VALUE = {
    "Softmax": "over a single output it is always 1",
    "LogSoftmax": "over a single output it is always 0",
    "ReLU": "it may be stuck at 0",
    "Sigmoid": "it may sit at one of its bounds",
}


def check(
    predictions: Mapping[str, Predictions] | None = None,
    batches: Batches | None = None,
    loss: Series | None = None,
    activations: LayerHistory | None = None,
) -> Found | Clear | Skipped:
    """Judges the largest share of one answer, or the spread of numeric ones."""
    chosen = held_out(predictions or {})
    if chosen is None:
        return _in_training(batches, loss, activations)
    name, table = chosen
    if not table.are_labels:
        targets = table.targets.astype(np.float64)
        spread = float(np.std(table.predictions.astype(np.float64)))
        limit = _SPREAD * float(np.std(targets))
        if not spread < limit:
            return Clear()
        text = (
            f"The predictions on {name} have a standard deviation of {spread:.2g}, the targets "
            f"of {np.std(targets):.2g}"
        )
        numbers = {"spread": spread}
        since = None
    else:
        answers, counts = np.unique(table.predictions.astype(str), return_counts=True)
        top = int(counts.argmax())
        share = float(counts[top] / len(table))
        common = float((table.targets.astype(str) == answers[top]).mean())
        if share < _SAME or common > _COMMON:
            return Clear()
        text = (
            f"{share:.1%} of {len(table)} predictions on {name} are '{answers[top]}', "
            f"which is right for {common:.1%}"
        )
        numbers = {"share": share, "true_share": common}
        since = dominated_since(batches, _SAME)
    advice = _advice(activations, batches)
    return Found(Severity.FAILING, f"{text}.", advice, since_step=since, numbers=numbers)


def _in_training(
    batches: Batches | None, loss: Series | None, activations: LayerHistory | None
) -> Found | Clear | Skipped:
    """The same of numbers in the newest batches."""
    seen = None if batches is None else spread(batches, loss, single=True)
    if seen is None:
        return Skipped("no held-out split has 30 predictions")
    if not seen.constant or (seen.explained or 0.0) >= _EXPLAINED:
        return Clear()
    of_what = "their own range"
    if seen.variance is not None:
        of_what = f"the targets' standard deviation of {math.sqrt(seen.variance):.2g}"
    return Found(
        Severity.FAILING,
        "In training, all examples get the same answer: over examples, answers vary by "
        f"{seen.ratio:.1g} of {of_what}.",
        _advice(activations, batches),
        numbers={"ratio": seen.ratio},
    )


def _advice(activations: LayerHistory | None, batches: Batches | None) -> str:
    """Where to look: at the last activation, or for where examples become equal, if they do."""
    if activations is not None and (why := _ONE_VALUE.get(activations.kinds[-1])):
        return f"Look at the last activation, {activations.title(-1)}: {why}."
    if batches is not None and len(batches):
        apart = batches.numbers["output_spread"][newest(batches, None)]
        span = (batches.numbers["output_high"] - batches.numbers["output_low"])[-len(apart) :]
        told = np.isfinite(apart) & np.isfinite(span)
        if told.any() and np.median(apart[told]) > _DIFFER * np.median(span[told]) > 0.0:
            return (
                "In training the outputs do differ between examples, only not enough to change "
                "the answer: look at the bias of the last layer, the class counts and the "
                "weights of the loss, and whether training has gone on for long enough."
            )
    return (
        "Follow two examples through the layers until they become equal, and look at what "
        "comes there: its weights, its activation, what is done to its inputs."
    )
