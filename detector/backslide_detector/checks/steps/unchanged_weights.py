"""Weights that should move do not.

What it looks for:
    Trainable weights that are the same in all snapshots although they have a gradient (they
    are in no optimizer, or it never steps), or that never get a gradient or only zeros
    (something behind them is detached or has no slope, or they are not used), in a run that
    does not learn well. Or an optimizer that took thirty steps at most, or one an epoch, in at
    least eight times as many training steps, in such a run. However well the run learns: an
    output layer that is in no optimizer, and weights that are as random as they began (evenly
    spread, as torch initialises them) and have a gradient, if a hundredth is left to learn, or
    stand before everything that moves.

Why it matters:
    That part of the network stays as random as it began.

What usually causes it:
    An optimizer made before the model was changed or without some of its parameters, a
    `detach()` in between, or gradients gathered over far more batches than was meant.

What to do:
    Check that `optimizer.step()` is called, that the optimizer was given the parameters of
    this model, and that no `detach()`, `.data`, `no_grad()` or conversion to numpy cuts the
    graph. Set `requires_grad_(False)` on what is meant to be frozen.

When it is wrong:
    Parameters declared frozen are not watched at all. Pretrained ones are sometimes frozen by
    leaving them out of the optimizer, and some heads are unused on purpose: if the run learns
    well, this is a note. Random features are sometimes wanted: declare them frozen, which also
    saves their gradients. Exact zeros in the gradient belong to other checks (dead units,
    weights that are all equal).

References:
    Jiang et al. (2025), TrainCheck, OSDI: silent errors in training. Amazon SageMaker
    Debugger, rule UnchangedTensor.
"""

from collections.abc import Iterable

import numpy as np

from backslide_detector.checks.layers import FEW_SNAPSHOTS
from backslide_detector.checks.learning import Learning, State
from backslide_detector.evidence import Batches, LayerHistory, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_FEW_STEPS = 20
_LARGE = 1 / 3
_SEVERAL = 3
_HALF = 0.5
_ANYTHING = 0.01
_SELDOM = 8  # training steps for one of the optimizer
_HARDLY = 256  # the same, more than anybody gathers
_HANDFUL = 30
_ROUNDED = 1e-6  # a gradient this much smaller than its weights is lost in float32 rounding


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    activations: LayerHistory | None = None,
    weights: LayerHistory | None = None,
    gradients: LayerHistory | None = None,
    updates: LayerHistory | None = None,
    batches: Batches | None = None,
    validation_loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Finds optimizers that hardly step, tensors in none, and tensors that stay the same."""
    if (seldom := _seldom(run, batches, learning, validation_loss)) is not None:
        return seldom
    left_out = _left_out(run, activations, learning)
    if isinstance(left_out, Found):
        return left_out
    if weights is None:
        seen: Found | Clear | Skipped = _never_stepped(run, activations, learning)
    else:
        seen = _unmoved(
            run, learning, weights, gradients, updates,
            activations=activations, stepped=_taken(batches) > 0,
        )  # fmt: skip
    return Clear(left_out) if left_out is not None and seen == Clear() else seen


def _seldom(
    run: RunEvidence, batches: Batches | None, learning: Learning, validations: Series | None
) -> Found | None:
    """An optimizer that is stepped now and then, while the run goes on without it."""
    taken = _taken(batches)
    if batches is None or taken < 1 or not learning.poor:
        return None
    steps = int(batches.steps[-1]) + 1
    epochs = 0 if validations is None else len(validations) + 1
    # A job that has just begun may gather gradients of many batches, and do well.
    often = taken * (_SELDOM if run.finished else _HARDLY) > steps
    if often or taken > max(_HANDFUL, epochs):
        return None
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"In {steps:,} training steps the optimizer took {count(taken, 'step')}. "
        f"{learning.sentence}",
        "Look at where optimizer.step() is called: it belongs into the loop over the batches; "
        "if gradients are gathered, then of fewer batches.",
        since_step=int(batches.steps[0]),
        numbers={"optimizer_steps": float(taken), "steps": float(steps)},
    )


def _taken(batches: Batches | None) -> int:
    """Steps that optimizers have made so far; 0 also where that is not known."""
    return 0 if batches is None else int(np.nan_to_num(batches.numbers["optimizer_steps"][-1]))


def _left_out(
    run: RunEvidence, activations: LayerHistory | None, learning: Learning
) -> Found | str | None:
    """Parameters with gradients that are in no optimizer; the output layer is never meant."""
    if not run.idle:
        return None
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in run.idle))
    text = (
        f"{len(run.idle)} trainable tensors get gradients but are in no optimizer "
        f"({', '.join(modules[:8])})"
    )
    last = activations is not None and activations.layers[-1] in modules
    random = _as_drawn(run, run.idle)
    if random:
        text += " and stay as random as they began"
    hurt = learning.poor and not learning.started_well
    if learning.state is not State.LEARNING:
        hurt = learning.failing or not learning.started_well
    # A body that was trained before may look random still, and be all that is needed.
    needed = learning.skill is None or learning.leaves(_ANYTHING)
    if not (hurt or last or (random and needed)):
        return f"{text}. {_not_worse(learning)}"
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        "Make the optimizer after the last change to the model, of all its parameters; set "
        "requires_grad_(False) on what is meant to be frozen.",
        layer=modules[0],
        since_step=0,
        numbers={"left_out": float(len(run.idle))},
    )


def _unmoved(
    run: RunEvidence,
    learning: Learning,
    weights: LayerHistory,
    gradients: LayerHistory | None,
    updates: LayerHistory | None,
    *,
    activations: LayerHistory | None,
    stepped: bool,
) -> Found | Clear | Skipped:
    """Tensors whose statistics are identical in all snapshots."""
    span = int(weights.steps[-1] - weights.steps[0])
    if len(weights.steps) < FEW_SNAPSHOTS or span < _FEW_STEPS:
        return Skipped("too few snapshots of the weights")
    still = [i for i in range(len(weights.layers)) if _same(weights, i)]
    still = [i for i in still if not _moved(updates, weights.layers[i])]
    still = [i for i in still if not _lost(updates, weights, i)]
    reached = [
        i
        for i in still
        if _size(gradients, weights.layers[i]) > _ROUNDED * np.nanmax(weights.abs_max[:, i])
    ]
    cut_off = [i for i in still if np.isnan(_size(gradients, weights.layers[i]))]
    silent = _silent(run, weights, gradients, activations, still)
    guilty = sorted(reached + cut_off + silent)
    if not guilty:
        return Clear()
    everything = len(guilty) == len(weights.layers)
    if everything and gradients is None and stepped:
        why = "the optimizer steps, but no parameter has a gradient then"
        advice = (
            "Call zero_grad() before loss.backward() or after optimizer.step(), not between; "
            "without it, look for a detach() before the loss."
        )
    elif everything and gradients is None:
        why = "the optimizer never stepped"
        advice = "Call optimizer.step() after loss.backward()."
    elif reached:
        why = "they have gradients, but no optimizer moves them"
        advice = (
            "Give the optimizer the parameters of this model: optimizer(model.parameters())."
        )
    elif silent:
        why = "their gradient is exactly zero in every step, though units behind them fire"
        advice = (
            "Look for what has no slope between these layers and the loss: round(), sign(), "
            "argmax, a comparison, a product with zero."
        )
    else:
        why = "they never get a gradient"
        advice = "Look for detach(), .data or no_grad() between these layers and the loss."
    names = ", ".join(dict.fromkeys(weights.title(i) for i in guilty[:8]))
    text = (
        f"{len(guilty)} of {len(weights.layers)} trainable tensors did not change in {span} "
        f"steps ({names}): {why}"
    )
    share = weights.count[guilty].sum() / weights.count.sum()
    forgotten = bool(reached) or _in_front(weights, guilty)
    forgotten &= _as_drawn(run, (weights.layers[i] for i in guilty))
    hurt = learning.poor and share > _LARGE
    if learning.state is not State.LEARNING:
        hurt = learning.failing or not learning.started_well
    if not (hurt or forgotten):
        return Clear(f"{text}. {_not_worse(learning)}")
    return Found(
        Severity.FAILING if everything or learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        advice,
        layer=weights.module(guilty[0]),
        since_step=int(weights.steps[0]),
        numbers={"unchanged": float(len(guilty)), "tensors": float(len(weights.layers))},
        stop=everything,
    )


def _silent(
    run: RunEvidence,
    weights: LayerHistory,
    gradients: LayerHistory | None,
    activations: LayerHistory | None,
    still: list[int],
) -> list[int]:
    """Those that stand in front with gradients of zero, where nothing else explains these.

    Dead units and equal or vanished weights do, so it takes units that are seen to fire.
    """
    zero = [i for i in still if _size(gradients, weights.layers[i]) == 0.0]
    if activations is None or run.alike or len(zero) < _SEVERAL or not _in_front(weights, zero):
        return []
    dead = activations.dead_fraction[np.isfinite(activations.dead_fraction)]
    return zero if len(dead) and dead.max() < _HALF else []


def _not_worse(learning: Learning) -> str:
    if learning.state is State.LEARNING:
        return "The run learns."
    return "The loss was low from the start, so the weights may be right as they are."


def _never_stepped(
    run: RunEvidence, activations: LayerHistory | None, learning: Learning
) -> Found | Skipped:
    """Weights are read in the optimizer's step, so activations alone mean that it made none."""
    first, last = run.provenance.initial_weights, run.provenance.final_weights
    untouched = first is not None and first == last
    hardly = learning.state is State.UNKNOWN and learning.poor
    if activations is None or activations.steps[-1] < _FEW_STEPS:
        return Skipped("no weights were recorded")
    if not (learning.failing or hardly or untouched):
        return Skipped("no weights were recorded; another optimizer may have stepped")
    ends = ", and the weights are those of the start" if untouched else ""
    return Found(
        Severity.FAILING if learning.failing or untouched else Severity.WARNING,
        f"In {activations.steps[-1]} steps the optimizer made none{ends}. {learning.sentence}",
        "Call optimizer.step() after loss.backward(), on the optimizer given to backslide.",
        since_step=int(activations.steps[0]),
        numbers={"steps": float(activations.steps[-1])},
        stop=learning.failing,
    )


def _same(weights: LayerHistory, index: int) -> bool:
    """Are all statistics of a tensor the same in every snapshot that has it?"""
    columns = (weights.mean, weights.std, weights.rms, weights.abs_max)
    rows = np.stack([column[:, index] for column in columns], axis=1)
    rows = rows[~np.isnan(rows).any(axis=1)]
    return len(rows) >= FEW_SNAPSHOTS and bool((rows == rows[0]).all())


def _in_front(weights: LayerHistory, which: list[int]) -> bool:
    """Do all of these stand before everything else?"""
    others = np.setdiff1d(np.arange(len(weights.layers)), which)
    return len(others) > 0 and weights.depth[which].max() < weights.depth[others].min()


def _as_drawn(run: RunEvidence, names: Iterable[str]) -> bool:
    """Is one of these known to be what a random start made it?"""
    return not set(run.drawn).isdisjoint(names)


def _moved(updates: LayerHistory | None, layer: str) -> bool:
    """Did any update of the tensor differ from zero? Tiny ones can escape its statistics."""
    if updates is None or layer not in updates.layers:
        return False
    return bool((updates.abs_max[:, updates.layers.index(layer)] > 0.0).any())


def _lost(updates: LayerHistory | None, weights: LayerHistory, index: int) -> bool:
    """Are all steps of the run too small to show in a tensor of this size, in float32?"""
    if updates is None:
        return False
    largest = np.nan_to_num(updates.abs_max).max(initial=0.0)
    size = np.nanmax(weights.abs_max[:, index]).astype(np.float32)
    return bool(0.0 < largest < np.spacing(size) / 2)


def _size(gradients: LayerHistory | None, layer: str) -> float:
    """Largest gradient of the tensor over all snapshots; NaN when it never had one."""
    if gradients is None or layer not in gradients.layers:
        return float("nan")
    column = gradients.abs_max[:, gradients.layers.index(layer)]
    return float(np.nanmax(column)) if np.isfinite(column).any() else float("nan")
