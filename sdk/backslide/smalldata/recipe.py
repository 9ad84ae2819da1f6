"""The user's parts of a training: how to build a model and its optimizer, and how to step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor, nn

from backslide.smalldata.answers import Predicted, first_tensor
from backslide.smalldata.data import Examples
from backslide.smalldata.forward import Call, Step, Tap, observe, plain_call

Named: TypeAlias = tuple[str, nn.Parameter]


@dataclass(frozen=True)
class Recipe:
    """What the user gave to `small_data_test`, and how it is to be read.

    Attributes:
        model_fn, opt_fn, step_fn, expect_frozen: as the user gave them.
        predicted: finds the answer in what the model returns.
        rearranges: the step draws its inputs anew, puts them in another order or into several
            calls, so that the model has to be asked without it what it says of an example.
    """

    model_fn: Callable[[], nn.Module]
    opt_fn: Callable[[nn.Module], torch.optim.Optimizer]
    step_fn: Step
    expect_frozen: tuple[str, ...] = ()
    predicted: Predicted = first_tensor
    rearranges: bool = False

    def build(self, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A new model with its optimizer."""
        model = self.model(seed)
        return model, self.opt_fn(model)

    def model(self, seed: int = 0) -> nn.Module:
        """A new model, initialised from `seed`."""
        torch.manual_seed(seed)
        return self.model_fn()

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples
    ) -> float:
        """One step of the user's, and its loss."""
        return loss_value(self.step_fn(model, optimizer, examples.inputs, examples.targets))

    def tap(self, model: nn.Module) -> Tap:
        """Keeps what the model is given and answers within the block."""
        return Tap(model, self.predicted)

    def observe(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        examples: Examples,
        *,
        training: bool = False,
    ) -> Call:
        """What the model is given of some examples, and what it answers; see `observe`."""
        if self.rearranges:
            return plain_call(model, examples.inputs, self.predicted, training=training)
        return observe(
            model, optimizer, self.step_fn, examples, self.predicted, training=training
        )

    def check(self) -> None:
        """Refuses parts that the test cannot work with.

        Raises:
            ValueError: If `model_fn` returns the same model twice, or a pattern of
                `expect_frozen` fits no parameter.
        """
        model = self.model()
        if self.model() is model:
            raise ValueError(
                "model_fn must build a new model each time; it returned the same one"
            )
        names = [name for name, _ in model.named_parameters()]
        for pattern in self.expect_frozen:
            if not any(_fits(pattern, name) for name in names):
                shown = ", ".join(names[:3])
                raise ValueError(
                    f"expect_frozen: {pattern!r} fits no parameter such as {shown}"
                )

    def declared_frozen(self, name: str) -> bool:
        """Whether a parameter is meant to stay as it is."""
        return any(_fits(pattern, name) for pattern in self.expect_frozen)

    def trainable(self, model: nn.Module) -> list[Named]:
        """The parameters that ought to learn."""
        return [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not self.declared_frozen(name)
        ]


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(pattern.rstrip(".") + ".")


def loss_value(loss: object) -> float:
    """The number in what a step returned.

    Raises:
        TypeError: If there is none, usually because the step has no `return loss`.
    """
    match loss:
        case Mapping() if "loss" in loss:
            return loss_value(loss["loss"])
        case tuple() | list() if loss:
            return loss_value(loss[0])
        case Tensor():
            return float(loss.detach().double().mean())
        case int() | float():
            return float(loss)
        case _:
            raise TypeError(
                f"step_fn must return the loss of its step, but returned {type(loss).__name__}"
            )
