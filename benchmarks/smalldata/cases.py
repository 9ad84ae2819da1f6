"""Faults planted into healthy trainings, and healthy trainings that look odd."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from benchmarks.smalldata.networks import (
    Net,
    Parts,
    Tokens,
    adam,
    adamw,
    call,
    ce,
    mlp,
    plain,
    sgd,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

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


# --- healthy -------------------------------------------------------------------------------


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

# --- the matrix ----------------------------------------------------------------------------

COMMON = [
    "frozen layer", "head not in optimizer", "detached graph", "zero_grad missing",
    "step missing", "negative loss", "input times zero", "learning rate 1e-6", "SGD at 50",
    "labels shuffled", "training labels shuffled",
]  # fmt: skip
OF_CLASSES = ["NLL on scores", "softmax twice", "MSE on the class index"]
NEW = ["optimizer of another model", "gradients cleared before the step", "through NumPy",
       "targets one row off"]  # fmt: skip
MATRIX = {
    "tuned": {
        "MLP": [*COMMON, *OF_CLASSES, "dead start", "zero start", "bottleneck of one",
                "transposed and reshaped", "NaN in one input", *list(HEALTHY)[:12]],
        "CNN": [*COMMON, *OF_CLASSES, "dead start", "bottleneck of one",
                "as it is", "SGD 0.1", "label smoothing 0.1"],
        "regression": [*COMMON, "dead start", "targets broadcast",
                       "as it is", "AdamW", "frozen body, declared", "zero-initialised head"],
        "raw regression": [*COMMON, "targets broadcast", "as it is", "AdamW"],
        "costs": [*COMMON, "targets broadcast", "targets out of range",
                  "targets around 14,000"],
        "tagger": [*COMMON, "softmax twice", "as it is", "clipping"],
        "transformer": [*COMMON, *OF_CLASSES, "attention over the batch",
                        "as it is", "warm-up from zero"],
    },
    "held-out": {
        "MLP": [*NEW, "weight decay 1", "softmax over the batch", "held-out classes renumbered",
                *list(HEALTHY)[12:]],
        "regression": ["targets out of range", "bottleneck of one", "zero start",
                       "SGD 0.01, momentum"],
        "transformer": ["Adam 1e-4", "AdamW, decay 0.1"],
        "BN-CNN": [*COMMON, *OF_CLASSES, *NEW, "bottleneck of one", "batch norm momentum 1e-5",
                   "held-out classes renumbered", "transposed and reshaped",
                   "as it is", "AdamW", "label smoothing 0.1", "frozen body, declared",
                   "20 % label noise", "loader and dataset"],
        "ResNet": [*COMMON, *OF_CLASSES, "held-out classes renumbered",
                   "as it is", "SGD 0.1", "zero-initialised head"],
        "GRU": [*COMMON, *OF_CLASSES, "softmax over the batch", "as it is", "clipping"],
        "binary": [*COMMON, *NEW, "sigmoid twice", "softmax of one unit", "dead start",
                   "as it is", "SGD 0.1", "frozen body, declared"],
        "dict regression": [*COMMON, *NEW, "targets broadcast", "targets out of range",
                            "as it is", "AdamW", "zero-initialised head"],
    },
}  # fmt: skip


def cases(part: str):
    """Network, name, how it is planted, right kinds, right causes."""
    for network, names in MATRIX[part].items():
        for name in names:
            yield network, name, *FAULTS.get(name, (HEALTHY.get(name), "ok", {None}))
