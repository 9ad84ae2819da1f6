"""Healthy trainings, each an architecture on a data set, in two halves that share neither."""

from collections.abc import Callable

from tests.zoo.data import (
    cancer,
    circles,
    clusters,
    diabetes,
    digits,
    friedman,
    gratings,
    hills,
    moons,
    pulses,
    rings,
    signals,
    tokens,
    waves,
    wine,
)
from tests.zoo.networks import (
    Reader,
    Recurrent,
    Residual,
    ResidualConv,
    Transformer,
    cnn,
    conv1d,
    mlp,
    normed,
)
from tests.zoo.training import Setup
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.optim import SGD, Adam, AdamW

ce, mse, bce = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


def adam(rate: float = 1e-3):
    return lambda m: Adam([p for p in m.parameters() if p.requires_grad], rate)


def adamw(rate: float = 1e-3, decay: float = 0.01):
    return lambda m: AdamW(m.parameters(), rate, weight_decay=decay)


def sgd(rate: float, momentum: float = 0.0, decay: float = 0.0):
    return lambda m: SGD(m.parameters(), rate, momentum, weight_decay=decay)


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM(3, 24, batch_first=True), 4)


def gru() -> nn.Module:
    return Recurrent(nn.GRU(5, 24, batch_first=True), 5)


def batch_norm(side: int, classes: int) -> nn.Module:
    return ResidualConv(side, classes, nn.BatchNorm2d)


def own_inputs(setup: Setup) -> Setup:
    """Makes an autoencoder's setup: the targets are the inputs."""
    setup.data.change(lambda x, _: (x, x))
    setup.rebuilds = True
    return setup


DEVELOPMENT: dict[str, Callable[[int], Setup]] = {
    "mlp-digits": lambda s: Setup(mlp(64, 64, 64, 10), adam(), digits(s), ce, 14),
    "cnn-digits": lambda s: Setup(cnn(8, 10), adamw(), digits(s), ce, 8, training_error=True),
    "transformer-digits": lambda s: Setup(
        Transformer(8, 8, 10), adamw(2e-3), digits(s), ce, 8, training_error=True
    ),
    "residual-clusters": lambda s: Setup(Residual(20, 5), sgd(0.05, 0.9), clusters(s), ce, 8),
    "lstm-waves": lambda s: Setup(lstm(), adam(5e-3), waves(s), ce, 14),
    "mlp-cancer": lambda s: Setup(
        mlp(30, 32, 32, 1), adam(), cancer(s), bce, 20, 16, training_error=True
    ),
    "mlp-circles": lambda s: Setup(mlp(2, 32, 32, 2), sgd(0.1, 0.9), circles(s), ce, 20),
    "mlp-diabetes": lambda s: Setup(mlp(10, 32, 32, 1), adam(), diabetes(s), mse, 8, 16),
    "autoencoder-digits": lambda s: own_inputs(
        Setup(mlp(64, 32, 8, 32, 64), adam(3e-3), digits(s), mse, 12)
    ),
    "gru-waves": lambda s: Setup(
        Recurrent(nn.GRU(3, 24, batch_first=True), 4), adam(5e-3), waves(s), ce, 12
    ),
    "transformer-waves": lambda s: Setup(Transformer(16, 3, 4), adamw(3e-3), waves(s), ce, 10),
    "tanh-rings": lambda s: Setup(
        mlp(2, 24, 24, 1, act=nn.Tanh), sgd(0.2, 0.9), rings(s), bce, 20
    ),
    "mlp-hills": lambda s: Setup(mlp(8, 48, 48, 1), adam(3e-3), hills(s), mse, 30),
    "normed-clusters": lambda s: Setup(normed(20, 48, 5), adam(3e-3), clusters(s), ce, 6),
}

HELD_OUT: dict[str, Callable[[int], Setup]] = {
    "gelu-wine": lambda s: Setup(
        mlp(13, 48, 48, 3, act=nn.GELU), adamw(2e-3), wine(s), ce, 40, 8
    ),
    "resnet-gratings": lambda s: Setup(
        batch_norm(10, 6), sgd(0.05, 0.9), gratings(s), ce, 14, training_error=True
    ),
    "reader-tokens": lambda s: Setup(Reader(40, 12, 4), adamw(3e-3), tokens(s), ce, 14),
    "gru-pulses": lambda s: Setup(gru(), adam(1e-2), pulses(s), ce, 14, training_error=True),
    "tanh-moons": lambda s: Setup(
        mlp(2, 24, 24, 1, act=nn.Tanh), sgd(0.2, 0.9), moons(s), bce, 20
    ),
    "mlp-friedman": lambda s: Setup(
        mlp(10, 48, 48, 1, act=nn.SiLU), adam(1e-2), friedman(s), mse, 30
    ),
    "conv1d-signals": lambda s: Setup(conv1d(4), adam(3e-3), signals(s), ce, 15),
    "autoencoder-gratings": lambda s: own_inputs(
        Setup(mlp(100, 48, 12, 48, 100, act=nn.ELU), adamw(2e-3), gratings(s), mse, 14)
    ),
}
