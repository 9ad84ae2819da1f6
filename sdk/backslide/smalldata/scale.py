"""Targets in raw units: right, and far from where a network begins.

A network starts with outputs around zero and of about unit size. To targets around 5,000 it is
a long way in steps of a thousandth, though nothing is wrong with code, model or data.
"""

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from backslide.smalldata.data import Examples
from backslide.smalldata.memorise import Fit, memorise_own
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Task, Values
from backslide.smalldata.trees import Tree
from backslide.smalldata.verdict import Defect, Kind

FAR: Final = 2.0
"""Standard deviations that a mean may lie from zero."""
USUAL: Final = (0.2, 5.0)
"""Standard deviations that need no scaling."""
ON_ITS_WAY: Final = 0.5
"""R² in raw units from which a training is slow and not stuck."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of targets, one a column."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, examples: Examples, task: Task) -> Self | None:
        """Of values that are far from standardised; None of others."""
        if not isinstance(task, Values) or examples.part is not None:
            return None
        targets = torch.as_tensor(examples.targets)
        if not targets.is_floating_point() or len(targets) < 2:
            return None
        mean, std = targets.mean(0), targets.std(0).clamp_min(1e-12)
        far = mean.abs() > FAR * std
        unusual = (std < USUAL[0]) | (std > USUAL[1])
        return cls(mean, std) if bool((far | unusual).any()) else None

    def standard(self, examples: Examples) -> Examples:
        """The same examples with standardised targets."""
        targets = torch.as_tensor(examples.targets)
        return examples.with_targets(self._like(examples.targets, targets))

    def _like(self, given: Tree, targets: Tensor) -> Tree:
        scaled = (targets - self.mean) / self.std
        return scaled if isinstance(given, Tensor) else scaled.numpy()


def off_scale(
    recipe: Recipe, examples: Examples, task: Task, own: Fit, steps: int
) -> Defect | None:
    """The scale of the targets, if it is all that keeps a training from memorising them."""
    scale = Scale.of(examples, task)
    if scale is None:
        return None
    fit = memorise_own(recipe, scale.standard(examples), task, steps)
    if not fit.passed:
        return None
    low, high = (float(each) for each in (scale.mean.abs().max(), scale.std.max()))
    score = "" if own.score is None else f" (R² {own.score:.2f})"
    sentence = (
        f"With standardised targets the same model, optimizer and step memorise them in "
        f"{fit.steps} steps; with a mean of {low:.3g} and a standard deviation of {high:.3g} "
        f"they were not memorised in {own.steps}{score}."
    )
    numbers = {"target_mean": low, "target_std": high}
    return Defect(Kind.OPTIMIZER, "target-scale", sentence, numbers)


def on_its_way(fit: Fit) -> bool:
    """Whether a training in raw units gets there, given time."""
    return fit.finite and fit.score is not None and fit.score >= ON_ITS_WAY
