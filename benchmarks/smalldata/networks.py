"""Networks, data and training steps that the small-data test is measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_friedman1
from torch import Tensor, nn
from torch.nn import functional

from backslide.smalldata import SmallDataVerdict, small_data_test

ce = functional.cross_entropy


@dataclass(frozen=True)
class Parts:
    """What `small_data_test` is called with, and the loss that the step was made of."""

    model: Callable[[], nn.Module]
    opt: Callable[[nn.Module], torch.optim.Optimizer]
    step: Callable[..., Any]
    train: Any
    heldout: Any
    loss: Callable[[Tensor, Any], Tensor]
    expect_frozen: tuple[str, ...] = ()

    def judge(self) -> SmallDataVerdict:
        return small_data_test(
            self.model,
            self.opt,
            self.step,
            self.train,
            self.heldout,
            expect_frozen=self.expect_frozen,
        )


class Net(nn.Module):
    """A body and a head, so that faults can be planted between them."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x):
        return self.head(self.body(x))


def call(model: nn.Module, x: Any) -> Tensor:
    return model(**x) if isinstance(x, dict) else model(x)


def plain(loss_fn, prepare=lambda x: x):
    """The step of a textbook."""

    def step(model, opt, x, y):
        loss = loss_fn(call(model, prepare(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def mse(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output.squeeze(-1), target)


def bce(output: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(output.squeeze(-1), target)


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def adam(rate: float = 1e-3):
    return lambda model: torch.optim.Adam(_learning(model), rate)


def adamw(rate: float = 1e-3, decay: float = 1e-2):
    return lambda model: torch.optim.AdamW(_learning(model), rate, weight_decay=decay)


def sgd(rate: float, **extra: float):
    return lambda model: torch.optim.SGD(_learning(model), rate, **extra)


def mlp(inputs: int, outputs: int, width: int = 64, act=nn.ReLU, drop: float = 0.0) -> Net:
    first = [nn.Linear(inputs, width), act(), nn.Dropout(drop)]
    second = [nn.Linear(width, width), act(), nn.Dropout(drop)]
    return Net(nn.Sequential(*first, *second), nn.Linear(width, outputs))


def cnn(norm: bool = False) -> Net:
    def block(a: int, b: int) -> list[nn.Module]:
        return [
            nn.Conv2d(a, b, 3, padding=1),
            *([nn.BatchNorm2d(b)] if norm else []),
            nn.ReLU(),
        ]

    body = nn.Sequential(*block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 32))
    return Net(nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten()), nn.Linear(128, 10))


class Tokens(nn.Module):
    def __init__(self, batch_first: bool = True, drop: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.place = nn.Parameter(0.02 * torch.randn(1, 8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, drop, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.layers(self.embed(x) + self.place).mean(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 48, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0][:, -1]


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)  # as is good practice

    def forward(self, x):
        inner = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(x + self.norm2(self.conv2(inner)))


def resnet() -> Net:
    body = [nn.Conv2d(1, 16, 3, padding=1), Residual(16), Residual(16), nn.AdaptiveAvgPool2d(2)]
    return Net(nn.Sequential(*body, nn.Flatten()), nn.Linear(64, 10))


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 1)

    def forward(self, near, far):
        return self.head(self.body(torch.cat([near, far], 1)))


def _split(x: Tensor, y: Tensor, seed: int):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(100 + seed))
    cut = 2 * len(x) // 3
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def digits(*shape: int):
    def make(seed: int):
        data = load_digits()
        x = torch.tensor(data.data / 16, dtype=torch.float32).reshape(-1, *shape)
        return _split(x, torch.tensor(data.target), seed)

    return make


def _standard(values: Any) -> Tensor:
    values = torch.tensor(values, dtype=torch.float32)
    return (values - values.mean(0)) / values.std(0)


def diabetes(seed: int):
    data = load_diabetes()
    return _split(_standard(data.data), _standard(data.target), seed)


def raw_diabetes(seed: int):
    """Progression of the disease as it is given: 25 to 346."""
    data = load_diabetes()
    return _split(_standard(data.data), torch.tensor(data.target, dtype=torch.float32), seed)


def costs(seed: int):
    """The same function as `friedman`, around 14,000, in batches that hold their labels."""
    x, y = make_friedman1(900, noise=1.0, random_state=1)
    halves = _split(torch.tensor(x).float(), 1_000 * torch.tensor(y).float(), seed)
    return tuple(({"near": x[:, :5], "far": x[:, 5:]}, y) for x, y in halves)


def tagged(seed: int):
    """The rows of each digit, and for each row whether it is heavier than the one before."""
    data = load_digits()
    x = torch.tensor(data.data / 16, dtype=torch.float32).reshape(-1, 8, 8)
    ink = x.sum(2)
    return _split(x, (ink > ink.roll(1, 1)).long() + (ink > 4).long(), seed)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 32, 2, dropout=0.3, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.gru(x)[0]


def each(output: Tensor, target: Tensor) -> Tensor:
    return ce(output.transpose(1, 2), target)


def cancer(seed: int):
    data = load_breast_cancer()
    return _split(_standard(data.data), torch.tensor(data.target, dtype=torch.float32), seed)


def friedman(seed: int):
    x, y = make_friedman1(900, noise=1.0, random_state=0)
    halves = _split(torch.tensor(x).float(), torch.tensor(y).float(), seed)
    return tuple(({"near": x[:, :5], "far": x[:, 5:]}, y) for x, y in halves)


def seeded(build: Callable[[], nn.Module], seed: int) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        torch.manual_seed(torch.initial_seed() + 1000 * seed)
        return build()

    return model


NETWORKS = {
    "MLP": (lambda: mlp(64, 10), adam(), ce, digits(64)),
    "CNN": (cnn, adam(), ce, digits(1, 8, 8)),
    "regression": (lambda: mlp(10, 1), adam(), mse, diabetes),
    "transformer": (lambda: Net(Tokens(), nn.Linear(32, 10)), adamw(), ce, digits(8, 8)),
    "raw regression": (lambda: mlp(10, 1), adam(), mse, raw_diabetes),
    "costs": (Joined, adam(), mse, costs),
    "tagger": (lambda: Net(Tagger(), nn.Linear(64, 3)), adam(3e-3), each, tagged),
    "BN-CNN": (lambda: cnn(norm=True), sgd(0.05, momentum=0.9), ce, digits(1, 8, 8)),
    "ResNet": (resnet, adam(), ce, digits(1, 8, 8)),
    "GRU": (lambda: Net(Recurrent(), nn.Linear(48, 10)), adam(3e-3), ce, digits(8, 8)),
    "binary": (lambda: mlp(30, 1, 32), adam(), bce, cancer),
    "dict regression": (Joined, adam(), mse, friedman),
}
"""Name: model, optimizer, loss, data. Those from BN-CNN on are held out."""


def parts_of(network: str, seed: int) -> Parts:
    build, opt, loss, data = NETWORKS[network]
    train, heldout = data(seed)
    return Parts(seeded(build, seed), opt, plain(loss), train, heldout, loss)
