"""The training loss does not go down.

What it looks for:
    A training loss that, over the whole run, stays where it began or where always guessing
    the class shares would put it, or that ends above its start. The medians of the first
    steps and of the last tenth are compared; an error at chance confirms it, an error below
    chance refutes it.

Why it matters:
    The run uses up its budget and learns nothing.

What usually causes it:
    One of the findings above it. Alone: a defect in the code between inputs and loss, or a
    learning rate far from what the network needs.

What to do:
    Look at the findings above this one first: they are likelier causes. If there is none,
    try to overfit 32 examples (`backslide.small_data_test`): a network that cannot is a
    defect in the code, one that can points at the data or the learning rate.

When it is wrong:
    A run that starts from good weights has little left to lower; without an error or class
    counts this looks the same. Adversarial and reinforcement losses need not fall. Fewer
    than 100 losses are not judged.

References:
    Karpathy (2019), A Recipe for Training Neural Networks. Zhang et al. (2021), AutoTrainer
    (ICSE): a symptom counts only together with a failure to learn.
"""

from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Series
from backslide_detector.finding import Clear, Found, Severity, Skipped


def check(loss: Series, learning: Learning) -> Found | Clear | Skipped:
    """Reports what the gate found about the loss."""
    shape = learning.curve
    match learning.state:
        case State.UNKNOWN:
            return Skipped(f"Too little to tell. {learning.sentence}")
        case State.LEARNING:
            return Clear()
        case State.FAILING:
            return Found(
                Severity.FAILING,
                f"The run learns nothing. {learning.sentence}",
                "Mend the findings above first; without any, try to overfit 32 examples: "
                "failing at that is a defect in the code.",
                since_step=int(loss.steps[0]) if shape is None else shape.best_step,
                numbers={
                    name: value
                    for name, value in (
                        ("initial_loss", learning.initial_loss),
                        ("final_loss", learning.final_loss),
                        ("guess_loss", learning.guess_loss),
                    )
                    if value is not None
                },
                stop=learning.diverged,
            )
