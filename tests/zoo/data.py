"""Small data sets: scikit-learn's own and synthetic ones, all offline, split by a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor


@dataclass
class Data:
    """A data set cut into parts for training, validation and test.

    Classes are int64, binary targets float32 of shape (n, 1), values float32 of shape (n, d).
    """

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor

    def change(self, function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]):
        """Puts other inputs and targets in the place of these, in all parts alike."""
        self.x, self.y = function(self.x, self.y)
        self.x_val, self.y_val = function(self.x_val, self.y_val)
        self.x_test, self.y_test = function(self.x_test, self.y_test)

    def pick(self, rows: Tensor):
        """Keeps these training examples."""
        self.x, self.y = self.x[rows].clone(), self.y[rows].clone()


def cut(x: np.ndarray, y: np.ndarray, seed: int, train: int, most: int = 300) -> Data:
    """Shuffles and cuts: `train` examples, then two equal parts of at most `most`."""
    order = np.random.default_rng(seed).permutation(len(x))
    inputs = torch.from_numpy(np.ascontiguousarray(x[order]))
    targets = torch.from_numpy(np.ascontiguousarray(y[order]))
    part = min(most, (len(x) - train) // 2)
    a, b, c = slice(train), slice(train, train + part), slice(train + part, train + 2 * part)
    return Data(inputs[a], targets[a], inputs[b], targets[b], inputs[c], targets[c])


def standard(values: np.ndarray) -> np.ndarray:
    return ((values - values.mean(0)) / values.std(0)).astype(np.float32)


@cache
def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def digits(seed: int) -> Data:
    """Handwritten digits of 8 x 8 pixels in [0, 1]."""
    x, y = _load("digits")
    return cut((x / 16).astype(np.float32), y.astype(np.int64), seed, 1_000)


def cancer(seed: int, *, raw: bool = False) -> Data:
    """Tumours, malignant or not, by 30 features."""
    x, y = _load("breast_cancer")
    inputs = x.astype(np.float32) if raw else standard(x)
    return cut(inputs, y.astype(np.float32)[:, None], seed, 350)


def wine(seed: int, *, raw: bool = False) -> Data:
    """Three cultivars by 13 chemical features."""
    x, y = _load("wine")
    return cut(x.astype(np.float32) if raw else standard(x), y.astype(np.int64), seed, 110)


def diabetes(seed: int) -> Data:
    """Progress of a disease by ten features; half of its variance is noise."""
    x, y = _load("diabetes")
    return cut(standard(x), standard(y)[:, None], seed, 300)


def friedman(seed: int) -> Data:
    """Friedman's first function of five of ten features, about 14 ± 5, with noise."""
    x, y = datasets.make_friedman1(900, noise=1.0, random_state=seed)
    return cut(x.astype(np.float32), y.astype(np.float32)[:, None], seed, 500)


def clusters(seed: int) -> Data:
    """Five classes of two clusters each in 20 dimensions."""
    x, y = datasets.make_classification(
        2_600, 20, n_informative=10, n_classes=5, class_sep=2.0, random_state=seed
    )
    return cut(standard(x), y.astype(np.int64), seed, 1_600)


def circles(seed: int) -> Data:
    """One circle inside another."""
    x, y = datasets.make_circles(1_200, noise=0.08, factor=0.5, random_state=seed)
    return cut(x.astype(np.float32), y.astype(np.int64), seed, 600)


def rings(seed: int) -> Data:
    """The same circles further apart; the target is binary."""
    x, y = datasets.make_circles(1_200, noise=0.1, factor=0.4, random_state=seed)
    return cut(x.astype(np.float32), y.astype(np.float32)[:, None], seed, 600)


def hills(seed: int) -> Data:
    """Heights of about -20 ± 3 over four of eight features, with noise."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (900, 8))
    y = 3 * np.sin(3 * x[:, 0]) * x[:, 1] + 4 * x[:, 2] + 3 * x[:, 3] ** 2 - 20
    y += 0.5 * random.standard_normal(900)
    return cut(x.astype(np.float32), y.astype(np.float32)[:, None], seed, 500)


def moons(seed: int) -> Data:
    """Two half circles; the target is binary."""
    x, y = datasets.make_moons(1_200, noise=0.15, random_state=seed)
    return cut(x.astype(np.float32), y.astype(np.float32)[:, None], seed, 600)


def waves(seed: int) -> Data:
    """Noisy waves of four frequencies: 16 steps of 3 channels."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, 1_200)
    time, phase = np.arange(16)[None, :, None], random.uniform(0, 1, (1_200, 1, 3))
    x = np.sin(2 * np.pi * ((y[:, None, None] + 1) * time / 20 + 0.3 * phase))
    x += 0.2 * random.standard_normal(x.shape)
    return cut(x.astype(np.float32), y, seed, 640)


def pulses(seed: int) -> Data:
    """Which of five channels pulsed last in 12 steps."""
    random = np.random.default_rng(seed)
    channel = random.integers(0, 5, (1_200, 12))
    silent = random.random((1_200, 12)) < 0.4
    silent[:, 0] = False
    x = np.eye(5, dtype=np.float32)[channel] * ~silent[:, :, None]
    last = 11 - np.argmax(~silent[:, ::-1], axis=1)
    return cut(x.astype(np.float32), channel[np.arange(1_200), last], seed, 640)


def gratings(seed: int) -> Data:
    """Stripes at six angles, 10 x 10 pixels, standardised, with noise."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 6, 1_200)
    rows, columns = np.mgrid[:10, :10]
    angle, phase = np.pi * y / 6, random.uniform(0, 2 * np.pi, 1_200)
    across = np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns
    x = np.sin(1.2 * across + phase[:, None, None]) + 0.4 * random.standard_normal(across.shape)
    return cut(x.astype(np.float32).reshape(-1, 100), y, seed, 640)


def signals(seed: int) -> Data:
    """One of four shapes at a random place in 32 noisy samples."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, 1_200)
    ramp = np.linspace(0, 1, 8)
    shapes = np.stack([ramp, ramp[::-1], np.sin(2 * np.pi * ramp), np.abs(2 * ramp - 1)]) * 2
    x = 0.25 * random.standard_normal((1_200, 32))
    place = random.integers(0, 24, 1_200)[:, None] + np.arange(8)
    x[np.arange(1_200)[:, None], place] += shapes[y]
    return cut(x.astype(np.float32), y, seed, 640)


def tokens(seed: int) -> Data:
    """Sentences of 12 tokens out of 40; the class is which of four markers occurs."""
    random = np.random.default_rng(seed)
    x, y = random.integers(4, 40, (1_200, 12)), random.integers(0, 4, 1_200)
    x[np.arange(1_200), random.integers(0, 12, 1_200)] = y
    return cut(x, y, seed, 640)
