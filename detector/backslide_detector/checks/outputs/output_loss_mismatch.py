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
    Strong label smoothing has a floor too, at another height. With fewer than five classes
    the value is not peculiar enough, so a Softmax module must have been seen.

References:
    PyTorch documentation, torch.nn.CrossEntropyLoss ("unnormalized logits"). Floor: with
    probability 1 on the right class, -ln(e / (e + K - 1)).
"""

import math

from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import LayerHistory
from backslide_detector.finding import Clear, Found, Severity, Skipped

_BELOW = 0.01
_ABOVE = 0.12
_PECULIAR = 5


def check(
    learning: Learning, activations: LayerHistory | None = None
) -> Found | Clear | Skipped:
    """Compares the level of the loss with the floor of a double softmax."""
    if learning.classes is None or learning.curve is None or learning.skill is None:
        return Skipped("needs a training loss, class counts and an error")
    floor = math.log(math.e + learning.classes - 1) - 1.0
    softmax = activations is not None and activations.kinds[-1] == "Softmax"
    if not softmax and learning.classes < _PECULIAR:
        return Clear()
    shape = learning.curve
    settled = (
        floor * (1.0 - _BELOW) <= shape.best and floor * (1.0 - _BELOW) <= shape.final
    ) and shape.final <= floor * (1.0 + _ABOVE)
    if not settled or learning.error_skill is None or learning.error_skill < 0.7:
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
