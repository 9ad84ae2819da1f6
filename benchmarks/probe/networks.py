"""The networks that are probed, and the images they are trained on."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a way around them, as in ResNet-18."""

    def __init__(self, inside: int, outside: int, stride: int, act: type[nn.Module] = nn.ReLU):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.act = act()
        self.around = nn.Sequential()
        if stride > 1 or inside != outside:
            self.around = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x):
        inner = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(inner)) + self.around(x))


def resnet18(classes: int = 10) -> nn.Module:
    """11.2 million parameters: He et al. 2015, with the stem for large images."""
    widths = (64, 64, 128, 256, 512)
    blocks = [
        Block(widths[stage + second], widths[stage + 1], 2 if stage and not second else 1)
        for stage in range(4)
        for second in (0, 1)
    ]
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(512, classes),
    )  # fmt: skip


class Transformer(nn.Module):
    """Three layers over the rows of a digit."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x[:, 0])).mean(1))


def cnn(act: type[nn.Module]) -> nn.Module:
    """The CNN of the trials: three convolutions, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), act(), nn.Conv2d(32, 64, 3, padding=1), act(),
        nn.MaxPool2d(2), nn.Conv2d(64, 64, 3, padding=1), act(), nn.Flatten(),
        nn.Linear(1024, 64), act(), nn.Linear(64, 10),
    )  # fmt: skip


def residual() -> nn.Module:
    """Three blocks with batch norm."""
    blocks = [Block(24, 24, 1), Block(24, 24, 2), Block(24, 24, 1)]
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Sequential(*blocks),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


def wide() -> nn.Module:
    """Four blocks with GELU that grow wider."""
    blocks = [Block(a, b, stride, nn.GELU) for a, b, stride in WIDE]
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU(), nn.Sequential(*blocks),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(56, 10),
    )  # fmt: skip


WIDE = ((16, 16, 1), (16, 32, 1), (32, 40, 2), (40, 56, 1))

NETWORKS = {
    "CNN, ReLU": lambda: cnn(nn.ReLU),
    "CNN, GELU": lambda: cnn(nn.GELU),
    "ResNet, 3 blocks": residual,
    "transformer, 3 layers": Transformer,
    "CNN, tanh": lambda: cnn(nn.Tanh),
    "ResNet, 4 blocks, GELU": wide,
}


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels, and what they show."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(
        labels
    )


def trained(make, seed: int, images: Tensor, labels: Tensor, epochs: int = 6) -> nn.Module:
    """One network, trained for a few epochs."""
    torch.manual_seed(seed)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for start in range(0, len(images), 32):
            rows = order[start : start + 32]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()
