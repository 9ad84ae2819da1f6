"""Networks that are awkward to trace, one reason each."""

import torch
from tests.sdk.probe.networks import Recurrent, Residual, Shared, Transformer
from torch import nn


class Branching(nn.Module):
    """Which way it goes depends on the numbers."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.left(x) if x.sum() > 0 else self.right(x))


class OutOfTorch(nn.Module):
    """Leaves torch and comes back."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.last(torch.from_numpy(self.first(x).detach().numpy() * 2))


class Experts(nn.Module):
    """Each row goes to one expert; some get none."""

    def __init__(self, experts=4):
        super().__init__()
        self.router = nn.Linear(4, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)) for _ in range(experts)
        )
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            self.router.weight.zero_()
            self.router.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x):
        chosen = self.router(x).argmax(1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = chosen == number
            if rows.any():
                out[rows] = expert(x[rows])
        return self.head(out)


class UNet(nn.Module):
    """Skips, concatenation and changes in place."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        skip = self.act(self.down(x))
        deep = self.up(self.act(self.middle(self.pool(skip))))
        deep += 0.5 * skip
        return self.out(torch.cat([skip, deep], 1))


class Attention(nn.Module):
    """Attention by hand, with tied weights and a bare parameter."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.place = nn.Parameter(torch.zeros(6, 8))
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens) + self.place
        weights = (self.q(x) @ self.k(x).mT).softmax(-1)
        x = x + weights @ self.v(x)
        return {"logits": nn.functional.linear(x, self.head.weight), "hidden": x}


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


AWKWARD = {
    "cnn": (cnn, lambda: torch.randn(2, 1, 8, 8)),
    "mlp": (mlp, lambda: torch.randn(2, 4)),
    "transformer": (Transformer, lambda: torch.randint(30, (2, 9))),
    "residual": (Residual, lambda: torch.randn(2, 1, 8, 8)),
    "lstm": (Recurrent, lambda: torch.randn(2, 6, 5)),
    "shared": (Shared, lambda: torch.randn(2, 6)),
    "dictionary": (Attention, lambda: torch.randint(20, (2, 6))),
    "unet": (UNet, lambda: torch.randn(2, 1, 8, 8)),
    "branching": (Branching, lambda: torch.ones(2, 4)),
    "numpy": (OutOfTorch, lambda: torch.randn(2, 4)),
    "experts": (Experts, lambda: torch.randn(2, 4)),
}
