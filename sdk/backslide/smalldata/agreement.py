"""How far predictions agree with targets, beyond what permuted targets would give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from backslide.smalldata.data import Examples
from backslide.smalldata.task import Task

PERMUTATIONS: Final = 200


@dataclass(frozen=True)
class Agreement:
    """How far predictions agree with targets beyond what permuted targets would give.

    Attributes:
        score: Accuracy, AUC or correlation.
        chance: Its mean over permutations of the targets.
        z: The distance of the two in standard deviations over the permutations.
    """

    score: float
    chance: float
    z: float

    @property
    def skill(self) -> float:
        """Share of the way from chance to perfect."""
        return (self.score - self.chance) / max(1 - self.chance, 1e-12)

    def __str__(self) -> str:
        """The figures as part of a sentence."""
        return f"{self.score:.3f} against {self.chance:.3f} by chance (z = {self.z:.1f})"


def agreement(task: Task, output: Tensor, examples: Examples) -> Agreement:
    """Agreement of predictions with targets, against a permutation null."""
    return against_chance(
        lambda rows: task.association(output, examples.truth_of(rows)), len(examples)
    )


def against_chance(score: Callable[[Tensor], float], n: int) -> Agreement:
    """A score of `n` targets in their order, against the same of permuted ones."""
    shuffler = torch.Generator().manual_seed(0)
    orders = (torch.randperm(n, generator=shuffler) for _ in range(PERMUTATIONS))
    null = torch.tensor([score(order) for order in orders], dtype=torch.float64)
    found, chance, spread = score(torch.arange(n)), float(null.mean()), float(null.std())
    return Agreement(found, chance, (found - chance) / spread if spread > 1e-12 else 0.0)
