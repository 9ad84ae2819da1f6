"""Faults planted into healthy trainings."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from benchmarks.smalldata.networks import (
    Net,
    Parts,
    Tokens,
    adam,
    call,
    plain,
    sgd,
)
from torch import Tensor, nn
from torch.nn import functional

Fault = Callable[[Parts], Parts]


def model(change: Callable[[Any], Any]):
    """A fault in the model: `change` gets a new one and may return another."""

    def fault(p: Parts) -> Parts:
        def build() -> nn.Module:
            net = p.model()
            return change(net) or net

        return replace(p, model=build)

    return fault


def loss(change: Callable[..., Tensor]):
    return lambda p: replace(p, step=plain(lambda o, y: change(p.loss, o, y)))


def fed(change: Callable[[Tensor], Tensor]):
    def every(x):
        return {k: change(v) for k, v in x.items()} if isinstance(x, dict) else change(x)

    return lambda p: replace(p, step=plain(p.loss, every))


def optimizer(opt):
    return lambda p: replace(p, opt=opt)


def loop(order: str):
    """The lines of a step in another order: f(orward and) b(ackward), z(ero_grad), s(tep)."""

    def fault(p: Parts) -> Parts:
        def step(net, opt, x, y):
            found = None
            for line in order:
                if line == "f":
                    found = p.loss(call(net, x), y)
                    found.backward()
                elif line == "z":
                    opt.zero_grad()
                else:
                    opt.step()
            return found

        return replace(p, step=step)

    return fault


def labels(train=lambda y: y, heldout=lambda y: y):
    return lambda p: replace(
        p, train=(p.train[0], train(p.train[1])), heldout=(p.heldout[0], heldout(p.heldout[1]))
    )


def shuffled(seed: int):
    return lambda y: y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]


def behind_head(module: nn.Module):
    def change(net):
        net.head = nn.Sequential(net.head, module)

    return model(change)


def body_output(change: Callable[[Tensor], Tensor]):
    def plant(net):
        net.body.register_forward_hook(lambda m, a, out: change(out))

    return model(plant)


def _freeze_first(net):
    first = next(
        m for m in net.modules() if next(m.parameters(recurse=False), None) is not None
    )
    for p in first.parameters(recurse=False):
        p.requires_grad_(False)


@torch.no_grad()
def _dead(net):
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers[:-1]:
        layer.bias.fill_(-10)


@torch.no_grad()
def _zeros(net):
    for p in net.parameters():
        p.zero_()


def _bottleneck(net):
    size = net.head.in_features
    net.body = nn.Sequential(net.body, nn.Linear(size, 1), nn.ReLU(), nn.Linear(1, size))


def _slow_norm(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1e-5


def _nan(p: Parts) -> Parts:
    x = p.train[0].clone()
    x.view(len(x), -1)[7, 0] = float("nan")
    return replace(p, train=(x, p.train[1]))


NOTHING = {"labels-carry-no-information"}
FAULTS: dict[str, tuple[Fault, str, set[str]]] = {
    # name: how, right kinds, right causes
    "frozen layer": (model(_freeze_first), "code", {"frozen-params"}),
    "head not in optimizer": (
        optimizer(lambda m: torch.optim.Adam(m.body.parameters(), 1e-3)),
        "code", {"not-in-optimizer"},
    ),
    "detached graph": (body_output(torch.detach), "code", {"no-gradient"}),
    "zero_grad missing": (loop("fs"), "code", {"stale-gradients"}),
    "step missing": (loop("zf"), "code", {"not-moving"}),
    "negative loss": (loss(lambda f, o, y: -f(o, y)), "code", {"loss-unbounded-below"}),
    "NLL on scores": (
        loss(lambda f, o, y: functional.nll_loss(o, y)), "code", {"loss-unbounded-below"},
    ),
    "softmax twice": (behind_head(nn.Softmax(-1)), "code", {"outputs-are-probabilities"}),
    "MSE on the class index": (
        loss(lambda f, o, y: functional.mse_loss(o, y[:, None].float().expand_as(o))),
        "code", {"loss-or-step"},
    ),
    "dead start": (model(_dead), "code", {"dead-layer"}),
    "zero start": (model(_zeros), "code", {"zero-gradient", "dead-layer"}),
    "input times zero": (fed(lambda x: x * 0), "code", {"constant-input"}),
    "transposed and reshaped": (
        fed(lambda x: x.flatten(1).T.reshape(x.shape)), "code", {"mixes-examples"},
    ),
    "attention over the batch": (
        model(lambda _: Net(Tokens(batch_first=False), nn.Linear(32, 10))),
        "code", {"mixes-examples"},
    ),
    "bottleneck of one": (
        model(_bottleneck), "capacity code", {"cannot-memorise", "dead-layer"},
    ),
    "learning rate 1e-6": (optimizer(adam(1e-6)), "optimizer", {"learning-rate-too-low"}),
    "SGD at 50": (optimizer(sgd(50.0)), "optimizer", {"learning-rate-too-high"}),
    "labels shuffled": (labels(shuffled(1), shuffled(2)), "data", NOTHING),
    "training labels shuffled": (labels(shuffled(1)), "data", NOTHING),
    "NaN in one input": (_nan, "data", {"non-finite-data"}),
    "targets broadcast": (
        loss(lambda f, o, y: ((o - y) ** 2).mean()), "code", {"shape-broadcast"},
    ),
    "targets around 14,000": (lambda p: p, "optimizer ok", {"target-scale", None}),
    # held out
    "optimizer of another model": (
        lambda p: replace(p, opt=lambda m: p.opt(p.model())), "code", {"not-in-optimizer"},
    ),
    "gradients cleared before the step": (
        loop("fzs"), "code optimizer", {"not-moving", "zero-gradient"},
    ),
    "through NumPy": (
        body_output(lambda out: torch.tensor(out.detach().numpy())), "code", {"no-gradient"},
    ),
    "targets one row off": (labels(lambda y: y.roll(1)), "data", NOTHING),
    "weight decay 1": (
        optimizer(sgd(0.1, weight_decay=1.0)), "optimizer", {"optimizer-settings"},
    ),
    "softmax over the batch": (
        loss(lambda f, o, y: f(o.softmax(0), y)), "code", {"loss-or-step"},
    ),
    "held-out classes renumbered": (
        labels(heldout=lambda y: (y + 3) % 10), "data", {"label-mapping"},
    ),
    "batch norm momentum 1e-5": (model(_slow_norm), "code", {"train-eval-mismatch"}),
    "sigmoid twice": (behind_head(nn.Sigmoid()), "code", {"outputs-are-probabilities"}),
    "softmax of one unit": (
        behind_head(nn.Softmax(-1)), "code", {"constant-output", "zero-gradient"},
    ),
    "targets out of range": (behind_head(nn.Sigmoid()), "code", {"output-range"}),
}  # fmt: skip
