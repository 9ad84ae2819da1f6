"""Small networks and their data: some to choose limits with, others to report on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as everybody calls it

PROBED, TESTED = 512, 385


class Residual(nn.Module):
    """Two convolutions that add to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.b1 = nn.BatchNorm2d(channels)
        self.c2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.b2 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


class ResNet(nn.Module):
    """A stem, residual blocks, a head."""

    def __init__(self, channels: int = 12, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(channels) for _ in range(blocks)))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


class Transformer(nn.Module):
    """The rows of an image as a sequence."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(torch.randn(8, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.squeeze(1)) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with activations between."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((64, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def cnn(*channels: int, norm: bool) -> nn.Sequential:
    """Convolutions, with batch norm or without, and two fully connected layers."""
    layers: list[nn.Module] = []
    for before, after in zip((1, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] * norm)]
        layers.append(nn.ReLU())
    return nn.Sequential(
        *layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(channels[-1] * 16, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        layers: modules that can be reset, frozen or pruned.
        activations: modules that another activation can slip into.
    """

    name: str
    build: Callable[[], nn.Module]
    layers: tuple[str, ...]
    activations: tuple[str, ...] = ()


LIMITS_FROM = (
    Network("mlp-4", lambda: mlp(48, 40, 32), ("1", "3", "5", "7"), ("2", "4")),
    Network(
        "resnet-2", lambda: ResNet(16, 2), ("stem", "blocks.0.c1", "blocks.1.c1"),
        ("blocks.0.act",),
    ),
    Network("cnn-2", lambda: cnn(12, 16, norm=False), ("0", "2", "6", "8"), ("1", "3")),
)  # fmt: skip
"""The limits in `checks/inside` were set by looking at these, and at other seeds."""

REPORTED = (
    Network("mlp-6", lambda: mlp(64, 48, 48, 40, 32), ("1", "3", "5", "7", "9"), ("4", "6")),
    Network("cnn-bn", lambda: cnn(8, 12, 16, norm=True), ("0", "3", "6", "11"), ("2", "5")),
    Network(
        "resnet", ResNet, ("stem", "blocks.0.c1", "blocks.1.c1", "blocks.2.c2"),
        ("blocks.0.act", "blocks.1.act"),
    ),
    Network(
        "transformer", Transformer,
        ("embed", "layers.0.linear1", "layers.1.linear2", "layers.2.linear1"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Handwritten digits: inputs and targets to train on, to probe and to test with."""

    train: tuple[Tensor, Tensor]
    probe: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def digits() -> Data:
    """The 1,797 images of scikit-learn, always split alike."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    cut = PROBED + TESTED
    return Data((x[cut:], y[cut:]), (x[:PROBED], y[:PROBED]), (x[PROBED:cut], y[PROBED:cut]))


def train(
    model: nn.Module, x: Tensor, y: Tensor, *, epochs: int, seed: int, rate: float = 3e-3
) -> nn.Module:
    """Adam on batches of 32; parameters that want no gradient stay as they are."""
    torch.manual_seed(seed)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(moving, rate)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(32):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()
