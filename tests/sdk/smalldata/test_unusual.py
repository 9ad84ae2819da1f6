"""Models that return more than an answer, and steps that make something of their inputs."""

from dataclasses import dataclass, replace

import pytest
import torch
from tests.sdk.smalldata.test_small_data import (
    CLASSES,
    FEATURES,
    REGRESSION,
    Parts,
    blobs,
    line,
    mlp,
)
from torch import Tensor, nn
from torch.nn import functional


class Body(nn.Module):
    """Features, and the scores made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = mlp(16), nn.Linear(16, CLASSES)

    def both(self, x):
        features = self.body(x)
        return features, self.head(features)


class Pair(Body):
    def forward(self, x):
        return self.both(x)


@dataclass
class Returned:
    features: Tensor
    answers: Tensor


class Record(Body):
    def forward(self, x):
        return Returned(*self.both(x))


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.size, self.kind = mlp(16), nn.Linear(16, 1), nn.Linear(16, CLASSES)

    def forward(self, x):
        features = self.body(x)
        return {"size": self.size(features).squeeze(-1), "kind": self.kind(features)}


class Sampled(nn.Module):
    """Draws in evaluation mode too, as a variational network does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x):
        out = self.body(x)
        return out + 0.1 * torch.randn_like(out)


def taking(loss_fn, make=lambda x, y: (x, y)):
    def step(model, opt, x, y):
        x, y = make(x, y)
        loss = loss_fn(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def second(out, y):
    return functional.cross_entropy(out[1], y)


def answers(out, y):
    return functional.cross_entropy(out.answers, y)


def both_heads(out, y):
    error = functional.mse_loss(out["size"], y["size"])
    return error + functional.cross_entropy(out["kind"], y["kind"])


def two_questions(data):
    return data[0], {"size": data[0][:, 0], "kind": data[1]}


def unpaired(data):
    return data[0].roll(1, 0), data[1]


def another_order(x, y):
    order = torch.randperm(len(x))
    return x[order], y[order]


def in_pieces(model, opt, x, y):
    opt.zero_grad()
    total = 0.0
    for some, truth in zip(x.chunk(2), y.chunk(2), strict=True):
        loss = functional.cross_entropy(model(some), truth) / 2
        loss.backward()
        total += loss.item()
    opt.step()
    return total


def counts(data):
    x, y = data
    return x, (2 + y).clamp(0, 8).round()


HEALTHY = {
    "features beside scores": Parts(Pair, step_fn=taking(second)),
    "a record": Parts(Record, step_fn=taking(answers)),
    "two questions": Parts(
        Heads,
        step_fn=taking(both_heads),
        train=two_questions(blobs(200, 1)),
        heldout=two_questions(blobs(100, 2)),
    ),
    "sampling": Parts(Sampled),
    "noise in the step": Parts(
        step_fn=taking(
            functional.cross_entropy, lambda x, y: (x + 0.2 * torch.randn_like(x), y)
        )
    ),
    "another order in the step": Parts(step_fn=taking(functional.cross_entropy, another_order)),
    "in pieces": Parts(step_fn=in_pieces),
    "counts by the log of their rate": Parts(
        lambda: mlp(1),
        step_fn=taking(lambda o, y: functional.poisson_nll_loss(o.squeeze(1), y)),
        train=counts(line(200, 1)),
        heldout=counts(line(100, 2)),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_training_passes(name):
    verdict = HEALTHY[name].judge()

    assert verdict.kind == "ok", str(verdict)
    assert verdict.numbers["heldout_z"] > 3


class Causal(nn.Module):
    """A recurrent network that takes the batch for time: later examples see earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(FEATURES, 32), nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


FAULTS = {
    "class-out-of-range": ("code", Parts(model_fn=lambda: mlp(CLASSES - 1))),
    "mixes-examples": ("code", Parts(model_fn=Causal)),
    "outputs-are-probabilities": ("code", Parts(model_fn=lambda: mlp(CLASSES, nn.Sigmoid()))),
    "output-range": ("code", Parts(model_fn=lambda: mlp(CLASSES, nn.Tanh()))),
    "dropout-too-high": ("code", Parts(model_fn=lambda: mlp(CLASSES, nn.Dropout(0.99)))),
    "learning-rate-too-high": (
        "optimizer",
        Parts(opt_fn=lambda m: torch.optim.Adam(m.parameters(), 10.0)),
    ),
    "learning-rate-too-low": (
        "optimizer",
        replace(REGRESSION, opt_fn=lambda m: torch.optim.SGD(m.parameters(), 1e-8)),
    ),
    "labels-carry-no-information": (
        "data",
        Parts(
            Heads,
            step_fn=taking(both_heads),
            train=unpaired(two_questions(blobs(200, 1))),
            heldout=two_questions(blobs(100, 2)),
        ),
    ),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_planted_fault_is_named(cause):
    kind, parts = FAULTS[cause]

    verdict = parts.judge()

    assert (verdict.kind, verdict.cause) == (kind, cause), str(verdict)
