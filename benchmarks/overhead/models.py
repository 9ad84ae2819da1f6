"""Three networks to train: an MLP, a CNN and a small transformer."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn


class Transformer(nn.Module):
    """Four encoder layers, width 128, on sequences of 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def mlp() -> tuple[nn.Module, Tensor]:
    layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10)), torch.randn(128, 784)


def cnn() -> tuple[nn.Module, Tensor]:
    sizes = [(3, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)]
    layers: list[nn.Module] = []
    for inputs, outputs, stride in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU()]
    head = [nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers, *head), torch.randn(64, 3, 32, 32)


def transformer() -> tuple[nn.Module, Tensor]:
    return Transformer(), torch.randint(0, 256, (16, 64))


MODELS: Final[dict[str, Callable[[], tuple[nn.Module, Tensor]]]] = {
    "MLP": mlp,
    "CNN": cnn,
    "transformer": transformer,
}
"""By name, what makes the network and one batch of inputs; there are ten classes."""
