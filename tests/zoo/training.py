"""The textbook training that every case of the zoo bends in one place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tests.zoo.data import Data
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import backslide

Start = Callable[..., backslide.Run]


def textbook(optimizer: Optimizer, loss: Tensor, now: int):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def as_it_is(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y


def shuffled(data: Data) -> Tensor:
    return torch.randperm(len(data.x))


@dataclass
class Setup:
    """All that a training is made of.

    Attributes:
        optimizer: makes the optimizer of a model.
        loss: of outputs and targets.
        update: turns a loss into a step; it is told the number of the step, from 0.
        schedule: of the learning rate, counted in steps.
        order: the training examples of one epoch.
        feed: changes a training batch on its way to the model.
        rebuilds: the targets are the inputs, so there is nothing to evaluate.
        training_error: it is logged once an epoch, as some do.
    """

    model: nn.Module
    optimizer: Callable[[nn.Module], Optimizer]
    data: Data
    loss: Callable[[Tensor, Tensor], Tensor]
    epochs: int
    batch: int = 32
    update: Callable[[Optimizer, Tensor, int], None] = textbook
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    order: Callable[[Data], Tensor] = shuffled
    feed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = as_it_is
    rebuilds: bool = False
    training_error: bool = False

    @property
    def inputs(self) -> int:
        return self.data.x[0].numel()

    @property
    def classes(self) -> int | None:
        """How many there are; None for other targets."""
        return int(self.data.y.max()) + 1 if self.data.y.dtype == torch.int64 else None

    @property
    def outputs(self) -> int:
        return self.classes or self.data.y.shape[1]

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.data.x) // self.batch)


def train(setup: Setup, start: Start):
    """Trains as most people do, and logs as the README shows."""
    model, data = setup.model, setup.data
    optimizer = setup.optimizer(model)
    schedule = setup.schedule(optimizer) if setup.schedule else None
    now = 0
    with start(model=model, optimizer=optimizer) as run:
        run.log_data("train", data.x, data.y)
        for _ in range(setup.epochs):
            for picked in setup.order(data).split(setup.batch):
                x, y = setup.feed(data.x[picked], data.y[picked])
                loss = setup.loss(model(x), y)
                setup.update(optimizer, loss, now)
                rate = optimizer.param_groups[0]["lr"]
                run.step(loss=loss, **({"lr": rate} if schedule else {}))
                now += 1
                if schedule:
                    schedule.step()
            with evaluating(model):
                out = model(data.x_val)
                run.log(val_loss=setup.loss(out, data.y_val), **errors("val", out, data.y_val))
                if setup.training_error:
                    run.log(**errors("train", model(data.x), data.y))
        if not setup.rebuilds:
            batches = zip(data.x_test.split(100), data.y_test.split(100), strict=True)
            run.evaluate("test", list(batches))


def errors(split: str, out: Tensor, y: Tensor) -> dict[str, float]:
    """The share of wrong answers, where there are right and wrong ones."""
    if y.dtype == torch.int64:
        wrong = out.argmax(-1) != y
    elif y.shape[1:] == (1,) and ((y == 0) | (y == 1)).all():
        wrong = (out > 0) != (y > 0)
    else:
        return {}
    return {f"{split}/error": wrong.float().mean().item()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    model.eval()
    with torch.no_grad():
        yield
    model.train()
