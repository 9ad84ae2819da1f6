"""Trainings of a case with one part exchanged for one that works."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from backslide.smalldata.data import Examples
from backslide.smalldata.forward import called
from backslide.smalldata.memorise import Fit, Training, adam, memorise
from backslide.smalldata.preflight import Preflight
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.scale import Scale
from backslide.smalldata.task import Task
from backslide.smalldata.verdict import Defect

RATES: Final = (3e-3, 3e-4)
"""Adam's for shallow networks, and for those that it upsets."""
SWAP_PATIENCE: Final = 2

Forward: TypeAlias = Callable[[nn.Module, torch.optim.Optimizer, Examples], object]


@dataclass(frozen=True)
class Case:
    """A training that could not memorise.

    Attributes:
        recipe: The user's parts.
        examples: What could not be memorised.
        first: What the preflight saw.
        own: The failed attempt with everything as the user has it.
        steps: Steps for each further attempt.
    """

    recipe: Recipe
    examples: Examples
    first: Preflight
    own: Fit
    steps: int

    @property
    def plain(self) -> Examples:
        """The examples as a plain loss can learn them: targets in raw units standardised."""
        scale = Scale.of(self.examples, self.task)
        return self.examples if scale is None else scale.standard(self.examples)

    @property
    def task(self) -> Task:
        """What the targets ask for."""
        return self.first.task

    def symptom(self, *causes: str) -> Defect | None:
        """The first of the preflight's symptoms with one of these causes."""
        return next((s for s in self.first.symptoms if s.cause in causes), None)


def swapped_optimizer(case: Case) -> tuple[float, Fit] | None:
    """The user's step with Adam, and the rate with which it memorised; None where none did."""
    recipe = case.recipe
    for rate in RATES:
        model = recipe.model()
        step = partial(recipe.step, model, adam(recipe, model, rate))
        try:
            fit = _attempt(case, (model, step), case.plain)
        except Exception:  # noqa: BLE001  # the step may rely on its own optimizer's extras
            return None
        if fit.passed:
            return rate, fit
    return None


def _attempt(case: Case, training: Training, examples: Examples) -> Fit:
    return memorise(
        case.recipe,
        training,
        examples,
        case.task,
        steps=case.steps,
        patience=SWAP_PATIENCE,
    )


def as_fed(recipe: Recipe) -> Forward:
    """Calls the model with what the user's own step makes of the inputs."""

    def forward(
        model: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples
    ) -> object:
        call = recipe.observe(model, optimizer, examples)
        return model(*call.args, **call.kwargs)

    return forward


def as_given(model: nn.Module, _: torch.optim.Optimizer, examples: Examples) -> object:
    """Calls the model with the inputs of the data."""
    return called(model, examples.inputs)


def plain_memorises(case: Case, examples: Examples, forward: Forward, seed: int = 0) -> bool:
    """Whether a plain training step with Adam memorises the examples."""
    recipe = case.recipe
    for rate in RATES:
        model = recipe.model(seed)
        # The user's step wants its own optimizer to be called with; it never gets to step.
        own, reference = recipe.opt_fn(model), adam(recipe, model, rate)
        step = partial(_plain_step, case, forward, (model, own, reference))
        try:
            fit = _attempt(case, (model, step), examples)
        except Exception:  # noqa: BLE001  # inputs or outputs that only the user's step understands
            return False
        if fit.passed:
            return True
    return False


def _plain_step(
    case: Case,
    forward: Forward,
    training: tuple[nn.Module, torch.optim.Optimizer, torch.optim.Optimizer],
    examples: Examples,
) -> float:
    model, own, reference = training
    output = case.recipe.predicted(forward(model, own, examples))
    loss = None if output is None else case.task.loss(output, examples.truth)
    if loss is None:
        raise ValueError("the outputs do not fit the targets")
    reference.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's lack
    reference.step()
    return float(loss.detach())


def after(case: Case) -> Tensor | None:
    """What a model says after some training with Adam and the user's step."""
    model = case.recipe.model()
    optimizer = adam(case.recipe, model, RATES[0])
    try:
        for _ in range(case.steps):
            case.recipe.step(model, optimizer, case.examples)
    except Exception:  # noqa: BLE001  # the step may rely on its own optimizer's extras
        return None
    output = case.recipe.observe(model, optimizer, case.examples).output
    return output if output is not None and bool(output.isfinite().all()) else None
