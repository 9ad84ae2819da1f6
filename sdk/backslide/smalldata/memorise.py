"""Can a handful of examples be learnt by heart? A network that cannot is broken somewhere."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from backslide.smalldata.data import Examples
from backslide.smalldata.forward import NoDropout, plain_call
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Task, Unscored

LOSS_SHARE: Final = 0.1
"""The loss has to fall to this share of where it began."""
PATIENCE: Final = 5
"""A loss that keeps falling gets this many times the steps: slow is not broken."""
REAL_FALL: Final = 0.02
FAIR_SHARE: Final = 0.2
LOOK_EVERY: Final = 10
LOSS_ALONE: Final = 0.5
"""A fair fall where there is no score, and the loss may have a floor that nobody knows."""


Training: TypeAlias = tuple[nn.Module, Callable[[Examples], float]]
"""A model, and a step that trains it and returns the loss."""


@dataclass(frozen=True)
class Fit:
    """How memorising went."""

    passed: bool
    steps: int
    initial: float
    final: float
    highest: float
    score: float | None
    update_ratio: float
    """Length of the first update over length of the weights."""
    unbounded: bool
    """The loss went below zero and kept falling, where no proper loss can."""

    @property
    def backwards(self) -> bool:
        """The loss is all but gone, and yet every answer is the wrong way round."""
        learnt = 0 <= self.final <= LOSS_SHARE * self.initial
        return learnt and not self.passed and self.score is not None and self.score <= 0.01

    @property
    def finite(self) -> bool:
        """Whether the loss stayed finite."""
        return math.isfinite(self.final)


def memorise(
    recipe: Recipe,
    training: Training,
    examples: Examples,
    task: Task,
    *,
    steps: int,
    patience: int,
) -> Fit:
    """Trains on the same few examples until they are known by heart or nothing moves any more.

    Known by heart: the score of `task` is reached, and either the user's loss or the reference
    loss of the same outputs is down to `LOSS_SHARE`. The second way is for losses with a floor,
    such as label smoothing. A score reached with a loss still falling at the end will do.
    """
    model, step = training
    losses: list[float] = []
    before = _weights(model)
    score: float | None = None
    reference_start: float | None = None
    passed, moved = False, 0.0
    with NoDropout(model):
        while not passed and _go_on(losses, steps, patience):
            look = len(losses) % LOOK_EVERY == 0 or len(losses) < 2
            with recipe.tap(model) as tap:
                losses.append(step(examples))
            if len(losses) == 1:
                moved = _distance(before, _weights(model))
            if not math.isfinite(losses[-1]):
                break
            if not look:
                continue
            reference = None
            output = tap.call.output
            if recipe.rearranges:
                output = plain_call(
                    model, examples.inputs, recipe.predicted, training=True
                ).output
            if output is not None:
                score = task.score(output.detach(), examples.truth)
                reference = _value(task.loss(output.detach(), examples.truth))
            reference_start = reference if reference_start is None else reference_start
            # Inputs that are drawn anew, or mixed, leave more of the loss.
            share = LOSS_ALONE if recipe.rearranges else LOSS_SHARE
            passed = _passes(task, score, losses, (reference, reference_start), share)
    if score is not None and score >= task.passes_at and math.isfinite(losses[-1]):
        passed = passed or (losses[-1] > 0 and still_falling(losses))
    if isinstance(task, Unscored):
        passed = passed or 0 <= losses[-1] <= LOSS_ALONE * losses[0]
    negative = losses[-1] < -(1 + abs(losses[0]))
    unbounded = negative and (task.name == "classification" or not passed)
    return Fit(
        passed=passed and not unbounded,
        steps=len(losses),
        initial=losses[0],
        final=losses[-1],
        highest=max((loss for loss in losses if math.isfinite(loss)), default=math.nan),
        score=score,
        update_ratio=moved,
        unbounded=unbounded,
    )


def memorise_own(recipe: Recipe, examples: Examples, task: Task, steps: int) -> Fit:
    """Memorising with everything as the user has it."""
    model, optimizer = recipe.build()
    return memorise(
        recipe,
        (model, lambda e: recipe.step(model, optimizer, e)),
        examples,
        task,
        steps=steps,
        patience=PATIENCE,
    )


def _go_on(losses: list[float], steps: int, patience: int) -> bool:
    done = len(losses)
    if done < steps:
        return True
    if done >= patience * steps:
        return False
    return bool(done % max(steps // 2, 1)) or still_falling(losses)


def still_falling(losses: list[float]) -> bool:
    """Whether the second half of a training brought a fair part of the fall, or of the rest.

    The latter is for targets far from zero, where the first steps bring nearly all of the fall.
    """
    tail = max(len(losses) // 10, 1)
    middle, end = _mean(losses[len(losses) // 2 :][:tail]), _mean(losses[-tail:])
    fall, lately = losses[0] - end, middle - end
    real = fall > REAL_FALL * abs(losses[0])
    return real and (lately > FAIR_SHARE * fall or lately > FAIR_SHARE * abs(middle))


def _passes(
    task: Task,
    score: float | None,
    losses: list[float],
    reference: tuple[float | None, float | None],
    share: float,
) -> bool:
    if len(losses) < 2:
        return False
    if losses[-1] < 0 and task.name == "classification":
        return False
    own = losses[0] > 0 and 0 <= losses[-1] <= share * losses[0]
    if score is None:
        return own
    now, start = reference
    floor = now is not None and start is not None and now <= share * start
    return score >= task.passes_at and (own or floor or task.name == "regression")


def _value(loss: Tensor | None) -> float | None:
    return None if loss is None else float(loss)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def _distance(before: list[Tensor], after: list[Tensor]) -> float:
    moved = sum(
        float((b - a).double().square().sum()) for a, b in zip(before, after, strict=True)
    )
    size = sum(float(a.double().square().sum()) for a in before)
    return math.sqrt(moved / size) if size > 0 else math.inf


def adam(recipe: Recipe, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The optimizer put in place of the user's."""
    return torch.optim.Adam([p for _, p in recipe.trainable(model)], lr=rate)
