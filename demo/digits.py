"""Handwritten digits: 1,797 real 8x8 scans that ship with scikit-learn."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

TRAIN_EXAMPLES = 1_000


@dataclass(frozen=True)
class Digits:
    """Inputs are float32 of shape (n, 1, 8, 8) in [0, 1], targets int64 of shape (n,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def load() -> Digits:
    """The same split every time: 1,000 to train on, 797 to test with."""
    inputs, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(inputs))
    x = torch.tensor(inputs[order] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(targets[order], dtype=torch.int64)
    return Digits(
        x[:TRAIN_EXAMPLES], y[:TRAIN_EXAMPLES], x[TRAIN_EXAMPLES:], y[TRAIN_EXAMPLES:]
    )


def with_swapped_labels(digits: Digits, first: int, second: int, share: float) -> Digits:
    """New training data in which a share of two classes carries each other's label."""
    labels = digits.y_train.clone()
    chance = np.random.default_rng(1)
    for old, new in ((first, second), (second, first)):
        members = np.flatnonzero(digits.y_train.numpy() == old)
        labels[chance.choice(members, round(share * len(members)), replace=False)] = new
    return replace(digits, y_train=labels)
