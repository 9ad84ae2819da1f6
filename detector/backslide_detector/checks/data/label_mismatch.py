"""Labels and examples do not belong together on one side of the split.

What it looks for:
    A network that learns its training data while held-out predictions are at chance or below;
    that it learns a little is enough where the validation loss is above a constant guess. Not
    with at most twenty training examples a class, which are learned by heart. For numbers:
    held-out predictions that do worse than their mean and go with the targets no better than by
    chance, after more than two hundred examples.
    Or, whatever the error: held-out predictions that become right once class names are
    exchanged one to one (of at least two classes, seven in ten examples get another class's
    name, and seven in ten answers with that name are for them).

Why it matters:
    Nothing is wrong with the network: either the error measured here is an error of the
    labels, or everything that was learned is.

What usually causes it:
    Class numbers given in another order on one side of the split, or inputs and labels
    shuffled apart.

What to do:
    Look at ten held-out examples and their labels. Then compare how both sides are made: the
    order of the classes (sorted names against order of appearance), labels that count from
    zero or from one, inputs and labels shuffled apart, another preprocessing.

When it is wrong:
    A hard task with few examples can stay at chance on new data, and so does training on
    labels drawn at random (see label-noise). Statistics of batch norm that lag behind look the
    same (see train-eval-mismatch, which is listed first). Two classes that are merely alike are
    confused one way or half the time, not exchanged. Numbers that are nearly all noise can look
    the same.

References:
    Zhang et al. (2017), Understanding deep learning requires rethinking generalization, ICLR.
    Matching of names: Kuhn (1955), The Hungarian method for the assignment problem.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.curve import falls, latest
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Predictions, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_FEW_EXAMPLES = 10
_EXCHANGED = 0.7
_MOST_CLASSES = 1_000
_LEARNED = 0.3
_A_LITTLE = 0.95
_ABOVE = 1.02
_CHANCE = 0.1
_FEW_NUMBERS = 200
_VERY_FEW = 20
_FELL = 0.05
_VARIED = 0.1
_ADVICE = (
    "Look at ten held-out examples with their labels; compare the order of the classes and the "
    "preprocessing of both splits."
)


def check(
    learning: Learning,
    predictions: Mapping[str, Predictions] | None = None,
    validation_loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Tries other names for the predicted classes, then compares both sides with chance."""
    chosen = held_out(predictions) if predictions else None
    learned = learning.training_skill is None or learning.training_skill >= _LEARNED
    if chosen is not None and learned and not chosen[0].startswith("train"):
        name, table = chosen
        renamed = _renamed(table) if table.are_labels else []
        if renamed:
            shown = ", ".join(f"{old!r} is answered with {new!r}" for old, new in renamed[:3])
            more = f" and {len(renamed) - 3} more" if len(renamed) > 3 else ""
            return Found(
                Severity.FAILING
                if 2 * len(renamed) >= len(set(table.targets))
                else Severity.WARNING,
                f"On {name} the names of {len(renamed)} classes are exchanged: {shown}{more}; "
                f"the error is {table.error:.1%}.",
                "Compare the order of the classes in training and in this split.",
                since_step=0,
                numbers={"exchanged": float(len(renamed)), "error": table.error},
            )
    if chosen is not None and learning.follows is not None:
        return _numbers(learning, chosen[1])
    little = _worse_than_guessing(learning, validation_loss)
    if learning.validation_error is None or (learning.generalises is None and not little):
        return Skipped("needs class counts, a training loss and an error on held-out data")
    if learning.generalises:
        return Clear()
    if _few(learning):
        return Clear("So few examples are learned by heart and say nothing of others.")
    curve = learning.curve
    return Found(
        Severity.FAILING,
        f"The training loss came from {learning.initial_loss:.3g} to "
        f"{learning.final_loss:.3g}, but the held-out error of {learning.validation_error:.1%} "
        "is hardly better than always guessing the largest class "
        f"({learning.chance:.1%}), or worse.",
        _ADVICE,
        since_step=int(curve.steps[0]) if curve is not None else 0,
        numbers={"error": learning.validation_error, "chance": learning.chance or 0.0},
    )


def _few(learning: Learning) -> bool:
    """Are there at most as many examples of a class as nobody could learn much from?"""
    rows, classes = learning.examples, learning.classes
    return rows is not None and classes is not None and rows <= _VERY_FEW * classes


def _numbers(learning: Learning, table: Predictions) -> Found | Clear:
    """Numbers that fit in training, and on held-out data not even a little."""
    curve, fit = learning.curve, learning.validation_skill
    trained = learning.training_skill
    if curve is None or fit is None or trained is None or learning.follows:
        return Clear()
    if (learning.examples or _FEW_NUMBERS) < _FEW_NUMBERS or fit >= 0.0:
        return Clear()
    spread = float(np.std(table.predictions.astype(np.float64)))
    varied = spread > _VARIED * float(np.std(table.targets.astype(np.float64)))
    if trained < _FELL or not falls(curve.levels) or not varied:
        return Clear()
    return Found(
        Severity.FAILING if trained >= _LEARNED else Severity.WARNING,
        f"Training is learned (loss {learning.initial_loss:.3g} → {learning.final_loss:.3g}), "
        f"but held-out predictions do worse than the mean of the targets (R² {fit:.2f}) and "
        "have nothing to do with them beyond chance.",
        _ADVICE.replace("labels", "targets").replace("the order of the classes", "their order"),
        since_step=int(curve.steps[0]),
        numbers={"r_squared": fit, "training_skill": trained},
    )


def _worse_than_guessing(learning: Learning, validation_loss: Series | None) -> bool:
    """Has training taught something that makes held-out answers worse than a constant guess?"""
    held, guess = latest(validation_loss), learning.guess_loss
    trained, tested = learning.final_loss, learning.validation_skill
    if held is None or guess is None or trained is None or tested is None:
        return False
    # It came to that by training: a wild start, or statistics that lag, are other faults.
    lowest = float(np.nanmin(validation_loss.values)) if validation_loss is not None else held
    worse = held > _ABOVE * max(guess, lowest)
    return worse and trained < _A_LITTLE * guess and tested < _CHANCE


def _renamed(table: Predictions) -> list[tuple[str, str]]:
    """(class, the name it is answered with) where exchanging names one to one explains it."""
    targets, answers = table.targets.astype(str), table.predictions.astype(str)
    names, codes = np.unique(np.concatenate([targets, answers]), return_inverse=True)
    if not 2 <= len(names) <= _MOST_CLASSES:
        return []
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (codes[: len(targets)], codes[len(targets) :]), 1.0)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    totals, given = counts.sum(axis=1), counts.sum(axis=0)
    renamed = [
        (str(names[row]), str(names[column]))
        for row, column in zip(rows, columns, strict=True)
        if row != column
        and totals[row] >= _FEW_EXAMPLES
        and counts[row, column] >= _EXCHANGED * max(totals[row], given[column])
    ]
    return renamed if len(renamed) > 1 else []
