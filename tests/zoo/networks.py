"""The architectures of the zoo, small."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

Activation = Callable[[], nn.Module]


def mlp(*widths: int, act: Activation = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with activations between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


class Functional(nn.Module):
    """The same with an activation that is a function and no module."""

    def __init__(self, *widths: int, act: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


def cnn(side: int, classes: int, *, norm: bool = True) -> nn.Sequential:
    """Two convolutions, with batch norm or without, on square images given flat."""

    def block(before: int, after: int) -> list[nn.Module]:
        norms = [nn.BatchNorm2d(after)] if norm else []
        return [nn.Conv2d(before, after, 3, padding=1), *norms, nn.ReLU()]

    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)), *block(1, 8), *block(8, 16), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (side // 2) ** 2, classes),
    )  # fmt: skip


def normed(inputs: int, width: int, classes: int) -> nn.Sequential:
    """Two hidden layers with batch norm."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes),
    )  # fmt: skip


class Residual(nn.Module):
    """Blocks that add to their input; their last layer may start at zero."""

    def __init__(self, inputs: int, classes: int, blocks: int = 4, *, zero: bool = False):
        super().__init__()
        self.stem, self.head = nn.Linear(inputs, 32), nn.Linear(32, classes)
        self.blocks = nn.ModuleList(mlp(32, 32, 32) for _ in range(blocks))
        for block in self.blocks if zero else []:
            nn.init.zeros_(block[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.relu(x))


class ResidualConv(nn.Module):
    """A small ResNet on images given flat; batch norm or group norm."""

    def __init__(self, side: int, classes: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.side = side
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(12, 12, 3, padding=1, bias=False), norm(12), nn.ReLU(),
                nn.Conv2d(12, 12, 3, padding=1, bias=False), norm(12),
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(12 * 9, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x.view(-1, 1, self.side, self.side)))
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(F.adaptive_avg_pool2d(x, 3).flatten(1))


class Recurrent(nn.Module):
    """A recurrent body and a head on its last step."""

    def __init__(self, body: nn.RNNBase, classes: int):
        super().__init__()
        self.body, self.head = body, nn.Linear(body.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class Transformer(nn.Module):
    """An encoder over the rows of an image given flat."""

    def __init__(self, rows: int, width: int, classes: int, *, batch_first: bool = True):
        super().__init__()
        self.shape = (-1, rows, width)
        self.embed = nn.Linear(width, 24)
        self.place = nn.Parameter(torch.randn(rows, 24) * 0.02)
        layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.1, batch_first=batch_first)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(x.view(self.shape)) + self.place).mean(1))


class Reader(nn.Module):
    """A transformer with pre-norm blocks over token indices, read at its first place."""

    def __init__(self, words: int, length: int, classes: int, *, batch_first: bool = True):
        super().__init__()
        self.embed = nn.Embedding(words, 24)
        self.place = nn.Parameter(torch.randn(length, 24) * 0.02)
        layer = nn.TransformerEncoderLayer(
            24, 4, 48, 0.0, "gelu", batch_first=batch_first, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.embed(x) + self.place))[:, 0])


def conv1d(classes: int) -> nn.Sequential:
    """Two convolutions over a signal, without norms."""
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 12, 5, padding=2), nn.LeakyReLU(0.1),
        nn.Conv1d(12, 12, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool1d(4), nn.Flatten(),
        nn.Linear(48, classes),
    )  # fmt: skip


class Variational(nn.Module):
    """A variational autoencoder; `cost` is the divergence of the newest batch."""

    def __init__(self, inputs: int):
        super().__init__()
        self.encoder, self.decoder = mlp(inputs, 48, 16), mlp(8, 48, inputs)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, -1)
        self.cost = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1).mean()
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp())


class Experts(nn.Module):
    """Eight experts of which each example takes the best; some are rarely taken."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.gate = nn.Linear(inputs, 8)
        self.experts = nn.ModuleList(mlp(inputs, 24, 24) for _ in range(8))
        self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        share, chosen = self.gate(x).softmax(-1).max(-1)
        out = torch.zeros(len(x), 24)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]))
        return self.head(F.relu(out * share[:, None]))


def reset(model: nn.Module, std: float) -> nn.Module:
    """Draws all weights anew from N(0, std²)."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
    return model
