"""There are too few examples to learn from.

What it looks for:
    Training data that is learned completely (a skill of 0.9 or more: the share of what there
    was to learn), a held-out error that leaves at least a quarter to be learned, and at most a
    hundred training examples a class; or a tenth of held-out answers wrong with at most twenty
    a class. For numbers: a training loss below a quarter of the validation loss, R² below 0.75
    and at most two hundred examples.

Why it matters:
    The network has nothing left to learn where it is; only new examples would tell it more. A
    larger network or more steps will not help.

What usually causes it:
    A large network on a small sample of the task.

What to do:
    Collect more examples, augment those there are, or start from weights trained on a related
    task. Train once on half of the data: if the error grows much, more data will lower it.

When it is wrong:
    On data where nobody can be certain, more of it has little left to win. How many examples
    are enough depends on the task; that the training data is learned and new data is not holds
    for large data sets too, where it is called overfitting.

References:
    Hestness et al. (2017), Deep Learning Scaling is Predictable, Empirically. Cortes et al.
    (1993), Learning Curves: Asymptotic Values and Rate of Convergence, NIPS.
"""

from backslide_detector.checks.curve import latest
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_LEARNED = 0.9
_LEFT = 0.75
_FEW = 100
_VERY_FEW = 20
_WRONG = 0.1
_FEW_NUMBERS = 200
_GAP = 4.0
_ADVICE = (
    "Collect more examples, augment them, or start from pretrained weights; train once on half "
    "of the data to see how much more of it would help."
)


def check(
    run: RunEvidence, learning: Learning, validation_loss: Series | None = None
) -> Found | Clear | Skipped:
    """Holds both sides of the split against the number of training examples."""
    rows = learning.examples
    if rows is None:
        return Skipped(
            'the size of the training data is not known (run.log_data("train", ...))'
        )
    if not run.finished:
        return Skipped("the run goes on")
    if learning.classes is None:
        return _numbers(rows, learning, validation_loss)
    trained, held, error = (
        learning.training_skill,
        learning.validation_skill,
        learning.validation_error,
    )
    if trained is None or held is None or error is None:
        return Skipped("needs a training loss or error, and an error on held-out data")
    each = rows / learning.classes
    few = each <= _FEW and held < _LEFT
    very_few = each <= _VERY_FEW and error > _WRONG
    if trained < _LEARNED or not (few or very_few):
        return Clear()
    return Found(
        Severity.WARNING,
        f"{rows:,} training examples ({each:.0f} a class) are learned to the last "
        f"(loss {learning.final_loss:.2g}), but {error:.1%} of held-out answers are wrong.",
        _ADVICE,
        since_step=0,
        numbers={"examples": float(rows), "held_out_error": error},
    )


def _numbers(
    rows: int, learning: Learning, validation_loss: Series | None
) -> Found | Clear | Skipped:
    fit, shape = learning.validation_skill, learning.curve
    if fit is None or shape is None or validation_loss is None:
        return Skipped("needs predictions on held-out data and a validation loss")
    held = latest(validation_loss) or 0.0
    if rows > _FEW_NUMBERS or fit >= _LEFT or held < _GAP * shape.final or shape.final <= 0.0:
        return Clear()
    return Found(
        Severity.WARNING,
        f"{rows:,} training examples are learned (loss {shape.final:.2g}), but the validation "
        f"loss is {held:.2g} and R² on held-out data {fit:.2f}.",
        _ADVICE,
        since_step=0,
        numbers={"examples": float(rows), "r_squared": fit, "validation_loss": held},
    )
