"""An ordinary PyTorch training script, with backslide's few lines in it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import backslide
from demo.digits import Digits


@dataclass(frozen=True)
class Recipe:
    """What an engineer would change between two retrains."""

    epochs: int
    lr: float
    batch_size: int = 32
    spike_at: int | None = None
    """Step at which the learning rate is wrong by a factor of a thousand, for three steps."""


def network() -> nn.Sequential:
    """A small convolutional network: 1x8x8 in, 10 classes out."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def train(
    name: str,
    recipe: Recipe,
    digits: Digits,
    *,
    seed: int,
    tracking_uri: str,
    on_step: Callable[[], None],
) -> backslide.Run:
    """Trains one model of the lineage and returns its finished run."""
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(
        TensorDataset(digits.x_train, digits.y_train), recipe.batch_size, shuffle=True
    )
    test_loader = DataLoader(TensorDataset(digits.x_test, digits.y_test), 256)

    step = 0
    with backslide.start(
        "digits-cnn",
        model=model,
        optimizer=optimizer,
        params=asdict(recipe),
        seed=seed,
        experiment="digits",
        run_name=name,
        tracking_uri=tracking_uri,
    ) as run:
        run.log_data("train", digits.x_train, digits.y_train)
        run.log_data("test", digits.x_test, digits.y_test)
        for _ in range(recipe.epochs):
            for x, y in loader:
                _set_rate(optimizer, recipe, step)
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(loss=loss)
                on_step()
                step += 1
            with torch.no_grad():
                run.log(val_loss=criterion(model(digits.x_test), digits.y_test))
        run.evaluate("test", test_loader)
    return run


def _set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    spike = recipe.spike_at is not None and 0 <= step - recipe.spike_at < 3
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * 1_000 if spike else recipe.lr
