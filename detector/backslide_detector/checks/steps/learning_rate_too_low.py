"""Steps are too small to get anywhere.

What it looks for:
    Healthy gradients, but steps that over most of the run moved every weight matrix by less
    than a hundred-thousandth of its size, in a run that has not learned. Or a learning rate
    that spent three quarters of the run below a thousandth of where it started, also in a run
    that learned a part while the rate was high, left more than a quarter and then stood still.

Why it matters:
    The budget ends before the network has left its start.

What usually causes it:
    A rate mistyped by some powers of ten, or a schedule that counts batches where epochs
    were meant.

What to do:
    Multiply the learning rate by ten until the loss moves within a hundred steps. If a
    schedule is used, check whether it counts batches or epochs.

When it is wrong:
    During warm-up and at the end of a schedule small steps are right; the whole run is
    judged, and not while the rate is still rising. Fine-tuning moves little and has learned
    already.

References:
    Smith (2017), Cyclical Learning Rates for Training Neural Networks (the range test).
"""

import numpy as np

from backslide.contract import Metric
from backslide_detector.checks.curve import is_finite
from backslide_detector.checks.layers import (
    FEW_SNAPSHOTS,
    matrices,
    norm,
    typical,
    update_ratio,
)
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Floats, LayerHistory, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_RATIO = 1e-5
_IN_ALL = 0.01
_GRADIENT = 1e-6
_FALL = 1e-3
_EARLY = 0.25
_REST = 0.2
_STILL = 0.03
_REPLACED = 0.5
_CLEARLY = 3.0
_FIRST = 5


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    gradients: LayerHistory | None = None,
    updates: LayerHistory | None = None,
    weights: LayerHistory | None = None,
    learning_rate: Series | None = None,
) -> Found | Clear | Skipped:
    """Judges the largest relative step over all matrices, and the schedule."""
    if learning_rate is None and (updates is None or weights is None):
        return Skipped("neither updates nor a learning rate were recorded")
    learns = learning.state is State.LEARNING and not _lucky(learning)
    if learning.diverged or (learns and not _cut_short(learning, learning_rate)):
        return Clear()
    if learning.curve is None:
        return Skipped("no training loss says whether the run learns")
    sentence = None
    numbers = {}
    if gradients is not None and updates is not None and weights is not None:
        ratio = _largest(updates, weights)
        size = _typical_gradient(gradients) * _clipped(run, gradients)
        low = ratio < _RATIO or ratio * learning.curve.span < _IN_ALL
        low &= size > _GRADIENT and not _leapt(updates, weights)
        if np.isfinite(ratio) and low and _moves(updates):
            least = f"by more than {ratio:.0e} of its size" if ratio > 0.0 else "at all"
            sentence = f"A typical step moves no weight matrix {least}{_rate(learning_rate)}"
            numbers = {"update_ratio": ratio, "gradient": size}
    if sentence is None and learning_rate is not None and _fell_early(learning_rate):
        rates = learning_rate.values
        sentence = f"The learning rate soon fell from {rates[0]:.2g} to {rates[-1]:.2g}"
        numbers = {"first_rate": float(rates[0]), "last_rate": float(rates[-1])}
    if sentence is None:
        return Clear()
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{sentence}. {learning.sentence}",
        "Multiply the learning rate by ten until the loss moves; check whether the schedule "
        "counts batches or epochs.",
        since_step=0,
        numbers=numbers,
    )


def _lucky(learning: Learning) -> bool:
    """Did the loss stay where it began? Then what the network knows, it knew before."""
    shape = learning.curve
    if shape is None or not learning.poor:
        return False
    # Both ends are medians of few values, and may differ by the noise of the batches.
    noise = _CLEARLY * shape.noise / np.sqrt(_FIRST)
    return bool(abs(shape.initial - shape.final) < max(_STILL * abs(shape.initial), noise))


def _cut_short(learning: Learning, rate: Series | None) -> bool:
    """Did learning stop, far from done, with a rate that was soon gone?"""
    shape = learning.curve
    if shape is None or rate is None or not learning.poor or not _fell_early(rate):
        return False
    gone = shape.steps[0] + _EARLY * (shape.steps[-1] - shape.steps[0])
    then = float(np.interp(gone, shape.steps, shape.levels))
    # What goes on falling is moved by another group's rate.
    return then - shape.final <= _REST * (shape.initial - shape.final)


def _largest(updates: LayerHistory, weights: LayerHistory) -> float:
    """Typical step of the matrix that moves most, relative to its size."""
    ratios = [
        float(typical(updates.rms[:, i]) / typical(weights.rms[:, weights.layers.index(layer)]))
        for i in matrices(updates)
        if (layer := updates.layers[i]) in weights.layers
        if typical(weights.rms[:, weights.layers.index(layer)]) > 0.0
    ]
    return max(ratios, default=float("nan"))


def _typical_gradient(gradients: LayerHistory) -> float:
    """Largest typical gradient among the matrices."""
    chosen = matrices(gradients)
    if not chosen:
        return 0.0
    sizes: Floats = typical(gradients.rms[:, chosen])
    return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 0.0


def _clipped(run: RunEvidence, gradients: LayerHistory) -> float:
    """How many times larger the gradients were before they were clipped."""
    norms = run.series.get(Metric.GRADIENT_NORM)
    if norms is None or not len(norms):
        return 1.0
    left = norm(gradients, list(range(len(gradients.layers))))
    times = norms.at(gradients.steps) / np.where(left > 0.0, left, np.nan)
    return max(1.0, float(np.nanmedian(times))) if is_finite(times).any() else 1.0


def _rate(learning_rate: Series | None) -> str:
    """What the learning rate came to, where it was logged."""
    if learning_rate is None or not len(learning_rate):
        return ""
    rates = learning_rate.values
    high = np.flatnonzero(~(rates < _FALL * np.nanmax(rates)))
    since = int(high[-1]) + 1 if len(high) else 0
    fell = f" since step {learning_rate.steps[since]}" if since < len(rates) else ""
    return f": the learning rate is {rates[-1]:.2g}{fell}"


def _leapt(updates: LayerHistory, weights: LayerHistory) -> bool:
    """Did a step all but replace the weights? What stands still after is broken by it."""
    _, ratios = update_ratio(updates, weights)
    return bool((ratios > _REPLACED).any())


def _moves(updates: LayerHistory) -> bool:
    """Was there any step at all? Weights that never move are another check's."""
    return len(updates.steps) >= FEW_SNAPSHOTS and bool((updates.abs_max > 0.0).any())


def _fell_early(rate: Series) -> bool:
    """Was the rate below a thousandth of its start for three quarters of the run?"""
    span = rate.steps[-1] - rate.steps[0]
    late = rate.values[rate.steps >= rate.steps[0] + _EARLY * span]
    return len(rate) >= 20 and bool(np.nanmax(late) < _FALL * rate.values[0])
