"""Small networks with what is awkward about seeing inside, one thing each."""

import torch
from torch import nn


def trained(model, inputs, targets, steps=30):
    """After a few steps on one batch, so that layers do something."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model


def images(rows=96, classes=4, seed=0):
    """Shape (rows, 1, 8, 8): a bar at one of several places, and noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) % classes
    inputs = 0.3 * torch.randn(rows, 1, 8, 8, generator=generator)
    for row, target in enumerate(targets.tolist()):
        inputs[row, 0, 2 * target : 2 * target + 2] += 1.0
    return inputs, targets


def convolutions(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12 * 16, 20),
        nn.Tanh(),
        nn.Linear(20, 4),
    )


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))) + x)


class Residual(nn.Module):
    def __init__(self, blocks=2):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(8) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.pool(self.blocks(self.stem(x))).flatten(1))


class Transformer(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens):
        x = self.embed(tokens if self.batch_first else tokens.T)
        x = self.norm(self.encoder(x))
        return {"logits": self.head(x.mean(1 if self.batch_first else 0)), "hidden": x}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, batch_first=True, bidirectional=True)
        self.head = nn.Linear(14, 1)

    def forward(self, x, lengths=None):
        return self.head(self.lstm(x)[0][:, -1]).squeeze(1)


class Shared(nn.Module):
    """One layer three times, and functions without modules."""

    def __init__(self):
        super().__init__()
        self.enter, self.again, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.enter(x)
        for _ in range(3):
            x = torch.relu(self.again(x))
        return self.out(x)
