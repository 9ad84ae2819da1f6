"""A training job as users write them; run as a script by the end-to-end tests.

Prints the run id on the last line. `--pause` makes it sleep after each step, so that a test can
kill it.
"""

import argparse
import sys
import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import backslide


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--lineage", default="digits-mlp")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--lr", type=float, default=3e-3)
    options.add_argument("--swap", type=float, default=0.0)
    options.add_argument("--pause", type=float, default=0.0)
    options.add_argument("--experiment", default="e2e")
    arguments = options.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    inputs, targets = load_digits(return_X_y=True)
    x = torch.tensor(inputs / 16, dtype=torch.float32)
    y = torch.tensor(targets, dtype=torch.int64)
    x_train, y_train, x_test, y_test = x[:1000], y[:1000].clone(), x[1000:], y[1000:]
    swapped = torch.rand(len(y_train), generator=torch.Generator().manual_seed(0))
    hit = swapped < arguments.swap
    y_train[hit] = (y_train[hit] + 1) % 10

    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), arguments.lr)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x_train, y_train), 32, shuffle=True)
    with backslide.start(
        arguments.lineage,
        model=model,
        optimizer=optimizer,
        params={"lr": arguments.lr, "epochs": arguments.epochs},
        seed=arguments.seed,
        experiment=arguments.experiment,
    ) as run:
        run.log_data("train", x_train, y_train)
        run.log_data("test", x_test, y_test)
        for _ in range(arguments.epochs):
            for batch, labels in loader:
                loss = criterion(model(batch), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(loss=loss)
                if arguments.pause:
                    print("step", flush=True)
                    time.sleep(arguments.pause)
            with torch.no_grad():
                run.log(val_loss=criterion(model(x_test), y_test))
        run.probe(x_test, y_test)
        run.evaluate("test", DataLoader(TensorDataset(x_test, y_test), 256))
    print(run.id)


if __name__ == "__main__":
    sys.exit(main())
