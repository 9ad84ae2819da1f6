"""Steps are too large for the loss to go down.

What it looks for:
    In a run that fails to learn, from a sane start: a training loss that shot up to one and
    a half times its start, or that had come down and went back to a constant guess, or a step
    that moved the weight matrices by more than a fifth of their size. In a run that learns
    poorly: steps that move them by a tenth again and again. In one that leaves anything to
    learn (a twentieth): a step that all but replaced the weights, with a loss well above its
    start and a constant guess after it (at all above them where a quarter is left). And
    whatever the errors say: a loss that ends at more than ten times its start.

Why it matters:
    The steps jump over every valley. Often they kill units or end in NaN, so those findings
    below are its consequences.

What usually causes it:
    A rate taken over from another optimizer, batch size or network, or one without a warm-
    up.

What to do:
    Divide the learning rate by ten, or warm it up over the first few hundred steps. If the
    rate is usual for the optimizer, check that gradients are cleared before each backward
    pass and that the loss is a mean over the batch, not a sum.

When it is wrong:
    Layers that start at zero are moved by many times their size at first, so all matrices
    are taken together. Large rates with one-cycle schedules, clipping or batch norm learn
    well, and what learns is not reported. A start that is already far above a constant
    guess is the initialisation's fault, and losses that any constant answer would cost are
    those of the targets.

References:
    Smith & Topin (2018), Super-Convergence. Bottou (2012), Stochastic Gradient Descent
    Tricks: updates of about a thousandth of the weights are usual.
"""

import numpy as np

from backslide_detector.checks.batches import FEW, never_cleared, trusted
from backslide_detector.checks.curve import is_finite
from backslide_detector.checks.layers import typical, update_ratio
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Batches, Floats, LayerHistory, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import figure

_RISE = 1.5
_JUMP = 0.2
_OFTEN = 0.1
_BLOWN = 10.0
_REPLACED = 0.5
_FAR = 1.25
_ABOVE = 1.1
_LEFT = 0.05
_WINDOW = 5
_BRIEFLY = 3
_NO_ANSWER = 2.0
_NEARLY_ALL = 0.9


def check(
    run: RunEvidence,
    loss: Series,
    learning: Learning,
    *,
    updates: LayerHistory | None = None,
    weights: LayerHistory | None = None,
    learning_rate: Series | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Looks for a loss that rose, and for steps as large as the weights."""
    if never_cleared(batches) is not None:
        return Clear("Gradients are never cleared: no learning rate suits their sum.")
    if updates is None or weights is None:
        steps, ratios = np.empty(0, np.int64), np.empty(0)
    else:
        steps, ratios = update_ratio(updates, weights)
        ratios = np.maximum(ratios - run.shrink, 0.0)  # what weight decay took is no step
    blown = _blown_up(learning)
    finite = is_finite(loss.values)
    values = loss.values[finite]
    thrown = _thrown(ratios, values, learning)
    if not (learning.poor or blown or thrown):
        return Clear()
    if learning.bad_start:
        return Clear("The loss began far above a constant guess, before any step was made.")
    if run.dropping and not (blown or thrown):
        return Clear("What dropout leaves is scaled up, and with it the loss and the steps.")
    jumped = thrown or bool((ratios > _JUMP).any() and learning.state is not State.LEARNING)
    rose = _rose(values) if learning.failing or jumped or blown else None
    if rose is not None and batches is not None and _wanted(batches, loss, _RISE * values[0]):
        rose = None
    often = len(ratios) >= 5 and float(typical(ratios)) > _OFTEN
    relapsed = rose is None and learning.failing and learning.relapsed
    if rose is None and not jumped and not often and not relapsed:
        return Clear()
    parts = []
    since = None
    if rose is not None:
        since = int(loss.steps[finite][rose])
        start, peak = figure(values[0]), figure(values.max())
        parts.append(f"The training loss shot up from {start} to {peak}")
    if relapsed and learning.curve is not None:
        since = learning.curve.best_step
        best, final = figure(learning.curve.best), figure(learning.curve.final)
        parts.append(f"The training loss had come down to {best} and is back at {final}")
    if jumped or often:
        largest = int(np.nanargmax(ratios))
        since = min(int(steps[largest]), since if since is not None else int(steps[largest]))
        parts.append(f"steps moved the weights by up to {ratios[largest]:.0%} of their size")
    if learning_rate is not None:
        parts.append(f"the learning rate reached {np.nanmax(learning_rate.values):.3g}")
    text = ", ".join(parts)
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text[:1].upper()}{text[1:]}. {learning.sentence}",
        "Take the mean of the loss over the batch, or divide the learning rate by its size."
        if learning.summed
        else "Divide the learning rate by ten or warm it up; check that gradients are cleared "
        "before each backward pass.",
        since_step=since,
        numbers={"first_loss": float(values[0]), "highest_loss": float(values.max())}
        | ({"update_ratio": float(np.nanmax(ratios))} if jumped or often else {}),
        stop=learning.diverged,
    )


def _wanted(batches: Batches, loss: Series, high: float) -> bool:
    """Are losses above that level owed to the targets, as any constant answer costs as much?

    What a rate throws out answers far from all targets.
    """
    costs, losses = np.square(batches.numbers["target_spread"]), batches.numbers["loss"]
    known = trusted(batches, loss) & (costs > 0.0)
    if (known & (losses > high)).sum() < FEW:
        return False
    cost = np.fmax(costs, costs[known].mean())
    owed = (losses <= _NO_ANSWER * cost)[known & (losses > high)]
    return float(owed.mean()) >= _NEARLY_ALL


def _thrown(ratios: Floats, values: Floats, learning: Learning) -> bool:
    """Did a step all but replace the weights, and the loss leave everything sane behind it?"""
    if not (ratios > _REPLACED).any() or len(values) < _WINDOW or values[0] < 0.0:
        return False
    start = max(float(values[0]), learning.guess_loss or 0.0)
    if _medians(values, _BRIEFLY).max() > _ABOVE * start and learning.lags:
        return True  # it never got over it
    left = learning.state is not State.LEARNING or learning.leaves(_LEFT)
    return bool(_medians(values).max() > _FAR * start) and left


def _blown_up(learning: Learning) -> bool:
    """Does the loss end far above its start, where errors or class counts say what it is?"""
    shape, known = learning.curve, learning.guess_loss or learning.validation_skill is not None
    if shape is None or not known or shape.levels.min() < 0.0:
        return False
    return shape.final > _BLOWN * max(shape.initial, learning.guess_loss or 0.0)


def _rose(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int | None:
    """First position from which five losses in a row have a median far above the start."""
    if len(values) <= _WINDOW or values[0] <= 0.0:
        return 1 if len(values) > 1 and values[-1] > 10 * _RISE * abs(values[0]) else None
    medians = _medians(values)
    spread = np.median(np.abs(np.diff(values)))
    high = medians > max(_RISE * values[0], values[0] + 5.0 * min(spread, values[0]))
    return int(high.argmax()) if high.any() else None


def _medians(values: Floats, width: int = _WINDOW) -> Floats:
    """Of each few losses in a row: single batches can be odd."""
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    return np.asarray(np.median(windows, axis=1), dtype=np.float64)
