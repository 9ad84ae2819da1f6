"""The loss expects something else than the network puts out.

What it looks for:
    Softmax applied twice: a cross-entropy of K classes that settles on ln(e + K - 1) - 1
    (1.461 for ten classes), the lowest value that probabilities taken for logits can reach,
    while the error says that most examples are right.

Why it matters:
    The network learns, but with weak gradients and no confidence; the loss cannot fall
    further, and early stopping and comparisons of losses mislead.

What to do:
    Remove the softmax at the end of the model: `CrossEntropyLoss` takes logits. With
    `LogSoftmax`, use `NLLLoss`.

When it is wrong:
    Strong label smoothing has a floor too, at another height. With fewer than eight classes
    the value is not peculiar enough, so a Softmax module must have been seen.

References:
    PyTorch documentation, torch.nn.CrossEntropyLoss ("unnormalized logits"). Floor: with
    probability 1 on the right class, -ln(e / (e + K - 1)).
"""

import math

from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SLACK = 0.05
_RIGHT = 0.8
_PECULIAR = 8


def check(
    learning: Learning, activations: LayerHistory | None = None
) -> Found | Clear | Skipped:
    """Compares the level of the loss with the floor of a double softmax."""
    if learning.classes is None or learning.curve is None or learning.skill is None:
        return Skipped("needs a training loss, class counts and an error")
    floor = math.log(math.e + learning.classes - 1) - 1.0
    softmax = activations is not None and activations.kinds[-1] == "Softmax"
    skill = learning.error_skill
    if (not softmax and learning.classes < _PECULIAR) or skill is None or skill < _RIGHT:
        return Clear()
    shape = learning.curve
    # Each wrong answer costs up to one nat more than the floor.
    error = (1.0 - skill) * (learning.chance or 0.0)
    lowest, highest = floor - _SLACK / 2, floor + error + _SLACK
    if min(shape.best, shape.final) < lowest or shape.final > highest:
        return Clear()
    layer = activations.layers[-1] if softmax and activations is not None else None
    return Found(
        Severity.WARNING,
        f"The training loss settles at {shape.final:.3f} although most answers are right; with "
        f"softmax applied twice it cannot fall below {floor:.3f} ({learning.classes} classes).",
        "Remove the softmax at the end of the model: CrossEntropyLoss takes logits.",
        layer=layer,
        since_step=int(shape.steps[0]),
        numbers={"loss": shape.final, "floor": floor},
    )
