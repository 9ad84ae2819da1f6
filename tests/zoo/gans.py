"""Two networks against each other, each with its own optimizer."""

from collections.abc import Callable
from functools import partial

import torch
from tests.zoo.networks import mlp
from tests.zoo.training import Start
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.optim import Adam

STEPS = 260


def ring(count: int) -> Tensor:
    """Points around a circle."""
    angle = 2 * torch.pi * torch.rand(count)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)


def line(count: int) -> Tensor:
    """Points along a bent line in four dimensions."""
    along = torch.randn(count, 1)
    return torch.cat([along, along**2, -along, 0.5 * along], 1) + 0.05 * torch.randn(count, 4)


def gan(
    start: Start,
    *,
    real: Callable[[int], Tensor],
    hinge: bool = False,
    rate: float = 1e-3,
    cut_off: bool = False,
    wrong_parameters: bool = False,
):
    """Trains a generator and a critic.

    Args:
        start: starts the run.
        real: draws true examples.
        hinge: with the hinge loss in place of the logistic one.
        rate: of both optimizers.
        cut_off: what is generated is detached in the generator's own step.
        wrong_parameters: the generator's optimizer was given the critic's.
    """
    size = real(1).shape[1]
    nets = nn.ModuleDict({"generator": mlp(4, 32, 32, size), "critic": mlp(size, 32, 32, 1)})
    trained = nets["critic"] if wrong_parameters else nets["generator"]
    generators = Adam(trained.parameters(), rate, betas=(0.5, 0.9))
    critics = Adam(nets["critic"].parameters(), rate, betas=(0.5, 0.9))
    with start(model=nets, optimizer=[generators, critics]) as run:
        for _ in range(STEPS):
            truth, made = nets["critic"](real(64)), nets["generator"](torch.randn(64, 4))
            doubt = nets["critic"](made.detach())
            if hinge:
                critic_loss = F.relu(1 - truth).mean() + F.relu(1 + doubt).mean()
            else:
                critic_loss = F.softplus(-truth).mean() + F.softplus(doubt).mean()
            critics.zero_grad()
            critic_loss.backward()
            critics.step()
            opinion = nets["critic"](made.detach() if cut_off else made)
            loss = -opinion.mean() if hinge else F.softplus(-opinion).mean()
            generators.zero_grad()
            loss.backward()
            generators.step()
            run.step(loss=loss, critic_loss=critic_loss)


HEALTHY = {"gan-ring": partial(gan, real=ring), "gan-line": partial(gan, real=line, hinge=True)}
FAULTY = {
    ("generator-cut-off", "gan-ring", ("unchanged-weights",)): partial(
        gan, real=ring, cut_off=True
    ),
    ("generator-in-no-optimizer", "gan-ring", ("unchanged-weights",)): partial(
        gan, real=ring, wrong_parameters=True
    ),
    ("rate-of-one", "gan-ring", ("learning-rate-too-high", "exploding-gradient")): partial(
        gan, real=ring, rate=1.0
    ),
    ("generator-in-no-optimizer", "gan-line", ("unchanged-weights",)): partial(
        gan, real=line, wrong_parameters=True
    ),
    ("rate-of-one", "gan-line", ("learning-rate-too-high", "exploding-gradient")): partial(
        gan, real=line, rate=1.0
    ),
}
