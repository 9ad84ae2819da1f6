"""Healthy trainings that look odd."""

from dataclasses import replace

import torch
from benchmarks.smalldata.faults import Fault, behind_head, fed, labels, loss, model, optimizer
from benchmarks.smalldata.networks import (
    Parts,
    adam,
    adamw,
    call,
    ce,
    mlp,
    sgd,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def _warmup(net):
    found = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(found, lambda i: min(1.0, i / 50))
    found.register_step_post_hook(lambda *_: schedule.step())
    return found


def _clipped(p: Parts) -> Parts:
    def step(net, opt, x, y):
        opt.zero_grad()
        found = p.loss(call(net, x), y)
        found.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        return found

    return replace(p, step=step)


def _accumulated(p: Parts) -> Parts:
    count = [0]

    def step(net, opt, x, y):
        found = p.loss(call(net, x), y)
        (found / 2).backward()
        count[0] += 1
        if count[0] % 2 == 0:
            opt.step()
            opt.zero_grad()
        return found

    return replace(p, step=step)


class FunctionalDropout(nn.Module):
    def forward(self, x):
        return functional.dropout(x, 0.5, self.training)


class LoRA(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(0.1 * torch.randn(8, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, 8))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


def _lora(net):
    net.body[0] = LoRA(net.body[0])


def _zero_head(net):
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)


def _freeze_body(net):
    net.body.requires_grad_(False)


def _drop_body(net):
    net.body = nn.Sequential(net.body, FunctionalDropout())


def _loaders(p: Parts) -> Parts:
    train = DataLoader(TensorDataset(*p.train), 32, shuffle=True)
    return replace(p, train=train, heldout=TensorDataset(*p.heldout))


def _sorted(p: Parts) -> Parts:
    order = p.train[1].argsort()
    return replace(p, train=(p.train[0][order], p.train[1][order]))


def _noisy(y: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    wrong = torch.rand(len(y), generator=draw) < 0.2
    return torch.where(wrong, torch.randint(0, 10, (len(y),), generator=draw), y)


def one_hot(y: Tensor) -> Tensor:
    return functional.one_hot(y, 10).float()


HEALTHY: dict[str, Fault] = {
    "as it is": lambda p: p,
    "dropout 0.3": model(lambda _: mlp(64, 10, drop=0.3)),
    "SGD 0.1": optimizer(sgd(0.1)),
    "AdamW": optimizer(adamw()),
    "frozen body, declared": lambda p: replace(model(_freeze_body)(p), expect_frozen=("body",)),
    "label smoothing 0.1": loss(lambda f, o, y: ce(o, y, label_smoothing=0.1)),
    "warm-up from zero": optimizer(_warmup),
    "zero-initialised head": model(_zero_head),
    "log-softmax and NLL": lambda p: loss(lambda f, o, y: functional.nll_loss(o, y))(
        behind_head(nn.LogSoftmax(-1))(p)
    ),
    "loader and dataset": _loaders,
    "sorted by class": _sorted,
    "standardised in the step": fed(lambda x: (x - x.mean(0)) / (x.std(0) + 1e-3)),
    # held out
    "dropout 0.5, functional": model(_drop_body),
    "SGD 0.01, momentum": optimizer(sgd(0.01, momentum=0.9)),
    "Adam 1e-4": optimizer(adam(1e-4)),
    "clipping": _clipped,
    "accumulation over two": _accumulated,
    "LoRA, declared": lambda p: replace(model(_lora)(p), expect_frozen=("body.0.base.*",)),
    "one-hot targets": labels(one_hot, one_hot),
    "softmax and log": lambda p: loss(lambda f, o, y: functional.nll_loss((o + 1e-8).log(), y))(
        behind_head(nn.Softmax(-1))(p)
    ),
    "20 % label noise": labels(_noisy),
    "tanh": model(lambda _: mlp(64, 10, act=nn.Tanh)),
    "inputs from 0 to 16": fed(lambda x: x * 16),
    "AdamW, decay 0.1": optimizer(adamw(decay=0.1)),
    "BCE on one-hot": loss(
        lambda f, o, y: functional.binary_cross_entropy_with_logits(o, one_hot(y))
    ),
}
