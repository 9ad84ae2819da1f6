"""Classes are never predicted.

What it looks for:
    On a held-out split: predictions that use at most half of the classes among the targets,
    with one class predicted at least three times as often as it occurs, and an error worse
    than half of chance. Or one class that is no rarer than half of the average and is never
    predicted, while of each other class four in five are right.

Why it matters:
    The network has given up on the other classes; an average over all hides it.

What usually causes it:
    Class counts that are far from even, or a learning rate that threw the network to one
    answer. Of a single class: `ignore_index`, a class weight of zero, or an output too few.

What to do:
    Check the class counts of the training data (see class-imbalance), then the learning
    rate and the loss weights.

When it is wrong:
    Classes with fewer than five examples in the split are left out. Early in a run collapse
    is common; predictions are usually logged at the end.

References:
    Buda et al. (2018), A systematic study of the class imbalance problem in convolutional
    neural networks.
"""

from collections.abc import Mapping

import numpy as np

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import dominated_since
from backslide_detector.evidence import Batches, Predictions
from backslide_detector.finding import Clear, Found, Severity, Skipped

_RARE = 5
_ENOUGH = 10
_KNOWN = 0.8
_OFTEN = 3.0
_ALL_THE_SAME = 0.99


def check(
    predictions: Mapping[str, Predictions], batches: Batches | None = None
) -> Found | Clear | Skipped:
    """Counts the classes that are predicted at all."""
    chosen = held_out(predictions)
    if chosen is None:
        return Skipped("no held-out split has 30 predictions")
    name, table = chosen
    if not table.are_labels:
        return Skipped("the predictions are numbers, not classes")
    targets, predicted = table.targets.astype(str), table.predictions.astype(str)
    classes, counts = np.unique(targets, return_counts=True)
    classes = classes[counts >= _RARE]
    if len(classes) < 3:
        return Skipped("fewer than three classes have five examples")
    never = [label for label in classes if not (predicted == label).any()]
    answers, given = np.unique(predicted, return_counts=True)
    top = int(given.argmax())
    share, true = given[top] / len(table), (targets == answers[top]).mean()
    chance = 1.0 - counts.max() / len(table)
    collapsed = len(never) * 2 >= len(classes) and share > _OFTEN * true
    if len(never) == 1 and (found := _left_out(name, table, never[0])) is not None:
        return found
    if not collapsed or table.error < 0.5 * chance or share >= _ALL_THE_SAME:
        return Clear()
    return Found(
        Severity.FAILING,
        f"{len(never)} of {len(classes)} classes are never predicted on {name}; "
        f"'{answers[top]}' is predicted for {share:.0%} and right for {true:.0%}.",
        "Mend the findings above first; without any, check the class counts of the training "
        "data, then the learning rate and loss weights.",
        since_step=dominated_since(batches, share / 2),
        numbers={"never": float(len(never)), "share": float(share), "true_share": float(true)},
    )


def _left_out(name: str, table: Predictions, label: str) -> Found | None:
    """One class that is never predicted by a network which knows all others."""
    targets = table.targets.astype(str)
    classes, counts = np.unique(targets, return_counts=True)
    own = int(counts[classes == label][0])
    known = [
        float(np.asarray(table.correct)[targets == c].mean()) for c in classes if c != label
    ]
    if min(known) < _KNOWN or own < max(_ENOUGH, len(table) / (2 * len(classes))):
        return None
    return Found(
        Severity.WARNING,
        f"Class '{label}' is never predicted on {name}: its {own} examples are {own} of the "
        f"{int((~table.correct).sum())} errors, while of each other class {min(known):.0%} or "
        "more are right.",
        f"Look for what leaves '{label}' out of training: ignore_index, a class weight of "
        "zero, a last layer with an output too few.",
        numbers={"examples": float(own), "others": min(known)},
    )
