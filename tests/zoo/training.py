"""The plain training loop that every case of the zoo bends in one place."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from tests.zoo.recorder import Recorder, evaluating
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from backslide_detector.evidence import RunEvidence

Tensor = torch.Tensor


@dataclass
class Data:
    """A data set cut into training, validation and test parts."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


def digits(scale: float = 16.0, seed: int = 0) -> Data:
    """scikit-learn's handwritten digits: 1,200 to train, 297 to validate, 300 to test."""
    x, y = _digits()
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = torch.from_numpy(x[order] / scale), torch.from_numpy(y[order])
    return Data(x[:1200], y[:1200], x[1200:1497], y[1200:1497], x[1497:], y[1497:])


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with activations between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


def base() -> nn.Sequential:
    return mlp(64, 64, 64, 10)


def train(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    *,
    epochs: int = 20,
    batch: int = 32,
    criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    classes: bool = True,
    zero_grad: bool = True,
    stepping: bool = True,
    shuffle: bool = True,
    before_step: Callable[[Recorder], None] = lambda _: None,
    log_rate: bool = False,
) -> RunEvidence:
    """Trains as most people do and logs the loss of each step and the errors of each epoch."""
    recorder = Recorder(model, optimizer)
    if classes:
        recorder.log_data("train", data.y.numpy())
    for _ in range(epochs):
        order = torch.randperm(len(data.x)) if shuffle else torch.arange(len(data.x))
        for picked in order.split(batch):
            loss = criterion(model(data.x[picked]), data.y[picked])
            if zero_grad:
                optimizer.zero_grad()
            loss.backward()
            before_step(recorder)
            if stepping:
                optimizer.step()
            if schedule:
                schedule.step()
            rate = {"lr": optimizer.param_groups[0]["lr"]} if log_rate else {}
            recorder.step(loss=loss.item(), **rate)
        with evaluating(model):
            out = model(data.x_val)
            recorder.log(val_loss=criterion(out, data.y_val).item())
            if classes:
                recorder.log(
                    **{"val/error": (out.argmax(-1) != data.y_val).float().mean().item()}
                )
    with evaluating(model):
        out = model(data.x_test)
        predicted = out.argmax(-1) if classes else out.flatten()
        recorder.log_predictions("test", data.y_test.flatten().numpy(), predicted.numpy())
    return recorder.evidence(name)
