"""What may watch a training: nothing, a single read of the tensors, backslide, its peers."""

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import backslide
from backslide.measure.instruments.activations import PASSING, observable
from backslide.measure.instruments.tensors import first_floating


class Contender:
    """Watches nothing: the bare loop, and the base of the others.

    Args:
        scratch: a folder of its own.
    """

    needs: str | None = None
    """A package that must be there."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    @classmethod
    def possible(cls) -> bool:
        return cls.needs is None or importlib.util.find_spec(cls.needs) is not None

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Once, before the first step."""

    def backward_done(self) -> None:
        """Gradients are there, the optimizer has not stepped."""

    def step_done(self, loss: Tensor) -> None:
        """The step is over."""

    def settle(self) -> None:
        """Between timed blocks: what waits in a queue is written."""

    def close(self) -> None:
        """After the last step."""


class OneRead(Contender):
    """Reads every activation, gradient and weight once, by the fastest reduction there is.

    No histogram, no update, no range: what any watcher of these tensors must spend.
    """

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.parameters = list(model.parameters())
        self.sums: list[Tensor] = []
        for module in watched(model).values():
            module.register_forward_hook(self.read)

    @torch.no_grad()
    def read(self, _module: nn.Module, _inputs: object, output: object) -> None:
        self.sums.append(first_floating(output).sum())

    @torch.no_grad()
    def backward_done(self) -> None:
        gradients = [p.grad for p in self.parameters]
        self.sums += torch._foreach_norm(gradients)  # noqa: SLF001  # what clip_grad_norm_ uses

    @torch.no_grad()
    def step_done(self, loss: Tensor) -> None:
        self.sums += torch._foreach_norm(self.parameters)  # noqa: SLF001  # the same
        torch.stack(self.sums).tolist()
        self.sums.clear()


class Backslide(Contender):
    """A whole run, without a server, everything watched at every step."""

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        os.environ["BACKSLIDE_OFFLINE"] = "1"
        self.run = backslide.start(
            "overhead",
            model=model,
            optimizer=optimizer,
            overhead=None,
            spool_dir=self.scratch,
        )

    def step_done(self, loss: Tensor) -> None:
        self.run.step(loss=loss)

    def close(self) -> None:
        self.run.finish()


class Wandb(Contender):
    """`run.watch(model, log="all", log_freq=1)`, offline: weights and gradients."""

    needs = "wandb"

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        os.environ.update(
            WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false"
        )
        import wandb  # noqa: PLC0415  # may not be there

        self.run: Any = wandb.init(project="overhead", dir=self.scratch)
        self.run.watch(model, log="all", log_freq=1)

    def step_done(self, loss: Tensor) -> None:
        self.run.log({"loss": loss.item()})

    def close(self) -> None:
        self.run.finish()


class TensorBoard(Contender):
    """`add_histogram` of the tensors that backslide measures: the four roles."""

    needs = "tensorboard"

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # may not be there

        self.writer: Any = SummaryWriter(self.scratch)
        self.model, self.number = model, 0
        for name, module in watched(model).items():
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: self.histogram(
                    f"activation/{name}", first_floating(output)
                )
            )

    def histogram(self, name: str, tensor: Tensor) -> None:
        self.writer.add_histogram(name, tensor.detach(), self.number)

    def backward_done(self) -> None:
        for name, parameter in self.model.named_parameters():
            self.histogram(f"gradient/{name}", parameter.grad)
        self.old = [parameter.detach().clone() for parameter in self.model.parameters()]

    def step_done(self, loss: Tensor) -> None:
        for (name, parameter), old in zip(self.model.named_parameters(), self.old, strict=True):
            self.histogram(f"weight/{name}", parameter)
            self.histogram(f"update/{name}", parameter.detach() - old)
        self.writer.add_scalar("loss", loss.item(), self.number)
        self.number += 1

    def settle(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def watched(model: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs backslide measures."""
    return {n: module for n, module in observable(model) if not isinstance(module, PASSING)}


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
