"""The small-data test on small networks: planted faults are named, healthy trainings pass."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import backslide
from backslide.smalldata import SmallDataVerdict

CLASSES, FEATURES = 4, 8


def mlp(outputs: int = CLASSES, *extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, outputs),
        *extra,
    )


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)


def stepping(loss_fn: Callable[..., Tensor], prepare: Callable[[Any], Any] = lambda x: x):
    def step(model, opt, x, y):
        loss = loss_fn(model(prepare(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(9))
    y = torch.arange(n) % CLASSES
    return centres[y] + torch.randn(n, FEATURES, generator=draw), y


def line(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(seed))
    return x, x[:, 0] - 2 * x[:, 1]


def permuted(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(data[1]), generator=torch.Generator().manual_seed(5))
    return data[0], data[1][order]


def squared(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output.squeeze(-1), target)


_STEP = stepping(functional.cross_entropy)
_TRAIN, _HELDOUT = blobs(200, 1), blobs(100, 2)


@dataclass(frozen=True)
class Parts:
    model_fn: Callable[[], nn.Module] = mlp
    opt_fn: Callable[[nn.Module], torch.optim.Optimizer] = adam
    step_fn: Callable[..., Any] = _STEP
    train: Any = _TRAIN
    heldout: Any = _HELDOUT
    expect_frozen: tuple[str, ...] = ()

    def judge(self) -> SmallDataVerdict:
        return backslide.small_data_test(
            self.model_fn,
            self.opt_fn,
            self.step_fn,
            self.train,
            self.heldout,
            expect_frozen=self.expect_frozen,
        )


REGRESSION = Parts(
    model_fn=lambda: mlp(1), step_fn=stepping(squared), train=line(200, 1), heldout=line(100, 2)
)


class Dropped(nn.Module):
    def __init__(self, _: int) -> None:
        super().__init__()

    def forward(self, x):
        return functional.dropout(x, 0.5, self.training)


def _with(layer: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        net = mlp()
        net.insert(4, layer(32))
        return net

    return build


def _frozen_first() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    return net


def _cut() -> nn.Module:
    net = mlp()
    net[2].register_forward_hook(lambda module, args, out: out.detach())
    return net


@torch.no_grad()
def _dead() -> nn.Module:
    net = mlp()
    net[0].bias.fill_(-100)
    return net


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, left, right):
        return self.net(torch.cat([left, right], 1))


def _halves(data: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    x, y = data
    return {"left": x[:, :4], "right": x[:, 4:]}, y


def _dict_step(model, opt, x, y):
    loss = functional.cross_entropy(model(**x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    return {"loss": loss}


def _raw(data: tuple[Tensor, Tensor], scale: float = 1_000.0) -> tuple[Tensor, Tensor]:
    return data[0], scale * (data[1] + 5)


RAW = replace(
    REGRESSION,
    opt_fn=lambda m: torch.optim.Adam(m.parameters(), 1e-3),
    train=_raw(line(200, 1)),
    heldout=_raw(line(100, 2)),
)


class Tagger(nn.Module):
    """Names each position of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 32, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.gru(x)[0])


def sequences(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 6, 4, generator=torch.Generator().manual_seed(seed))
    return x, x[..., :3].argmax(-1)


SEQUENCES = Parts(
    Tagger,
    lambda m: torch.optim.Adam(m.parameters(), 1e-2),
    stepping(lambda o, y: functional.cross_entropy(o.transpose(1, 2), y)),
    sequences(200, 1),
    sequences(100, 2),
)

HEALTHY = {
    "classification": Parts(),
    "regression": REGRESSION,
    "dropout in a function": Parts(model_fn=_with(Dropped)),
    "batch norm": Parts(model_fn=_with(nn.BatchNorm1d)),
    "frozen and declared": Parts(model_fn=_frozen_first, expect_frozen=("0",)),
    "SGD": Parts(opt_fn=lambda m: torch.optim.SGD(m.parameters(), 0.1)),
    "label smoothing": Parts(
        step_fn=stepping(lambda o, y: functional.cross_entropy(o, y, label_smoothing=0.1))
    ),
    "mapping of inputs": Parts(
        TwoInputs, adam, _dict_step, _halves(blobs(200, 1)), _halves(blobs(100, 2))
    ),
    "loader and dataset": Parts(
        train=DataLoader(TensorDataset(*blobs(200, 1)), 32, shuffle=True),
        heldout=TensorDataset(*blobs(100, 2)),
    ),
    "batches": Parts(train=[blobs(32, 1), blobs(32, 3)], heldout=[blobs(64, 2)]),
    "targets around 5,000": RAW,
    "dropout inside a recurrent layer": SEQUENCES,
    "standardised in the step": Parts(
        step_fn=stepping(functional.cross_entropy, lambda x: (x - x.mean(0)) / x.std(0))
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_training_passes(name):
    verdict = HEALTHY[name].judge()

    assert verdict.kind == "ok", str(verdict)
    assert verdict.cause is None
    assert verdict.numbers["heldout_z"] > 3


def _no_zero_grad(model, opt, x, y):
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    return loss


def _no_step(model, opt, x, y):
    loss = functional.cross_entropy(model(x), y)
    opt.zero_grad()
    loss.backward()
    return loss


def _nan() -> tuple[Tensor, Tensor]:
    x, y = blobs(200, 1)
    x[3, 2] = float("nan")
    return x, y


FAULTS = {
    "frozen-params": ("code", Parts(model_fn=_frozen_first)),
    "not-in-optimizer": (
        "code",
        Parts(opt_fn=lambda m: torch.optim.Adam(m[:3].parameters(), 3e-3)),
    ),
    "no-gradient": ("code", Parts(model_fn=_cut)),
    "stale-gradients": ("code", Parts(step_fn=_no_zero_grad)),
    "not-moving": ("code", Parts(step_fn=_no_step)),
    "mixes-examples": (
        "code",
        Parts(step_fn=stepping(functional.cross_entropy, lambda x: x.T.reshape(x.shape))),
    ),
    "constant-input": (
        "code",
        Parts(step_fn=stepping(functional.cross_entropy, lambda x: x * 0)),
    ),
    "outputs-are-probabilities": ("code", Parts(model_fn=lambda: mlp(CLASSES, nn.Softmax(-1)))),
    "loss-unbounded-below": ("code", Parts(step_fn=stepping(functional.nll_loss))),
    "loss-or-step": (
        "code",
        Parts(step_fn=stepping(lambda o, y: functional.cross_entropy(o, y.flip(0)))),
    ),
    "dead-layer": ("code", Parts(model_fn=_dead)),
    "shape-broadcast": (
        "code",
        replace(REGRESSION, step_fn=stepping(lambda o, y: (o - y).square().mean())),
    ),
    "output-range": ("code", replace(REGRESSION, model_fn=lambda: mlp(1, nn.Sigmoid()))),
    "target-scale": (
        "optimizer",
        replace(RAW, train=_raw(line(200, 1), 1e5), heldout=_raw(line(100, 2), 1e5)),
    ),
    "learning-rate-too-low": (
        "optimizer",
        Parts(opt_fn=lambda m: torch.optim.Adam(m.parameters(), 1e-6)),
    ),
    "learning-rate-too-high": (
        "optimizer",
        Parts(opt_fn=lambda m: torch.optim.SGD(m.parameters(), 50.0)),
    ),
    "labels-carry-no-information": ("data", Parts(train=permuted(blobs(200, 1)))),
    "non-finite-data": ("data", Parts(train=_nan())),
    "label-mapping": (
        "data",
        Parts(heldout=(blobs(100, 2)[0], (blobs(100, 2)[1] + 1) % CLASSES)),
    ),
    "one-class": ("data", Parts(train=(blobs(200, 1)[0], torch.zeros(200, dtype=torch.long)))),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_planted_fault_is_named(cause):
    kind, parts = FAULTS[cause]

    verdict = parts.judge()

    assert (verdict.kind, verdict.cause) == (kind, cause), str(verdict)
    assert verdict.advice in str(verdict)
    assert any(character.isdigit() for character in " ".join(verdict.evidence)), verdict


@dataclass
class Own:
    """A batch of somebody's own making."""

    features: Tensor
    y: Tensor
    source: str = "lab"


def _own(data: tuple[Tensor, Tensor]) -> Own:
    return Own(*data)


def _mapping(data: tuple[Tensor, Tensor]) -> dict[str, Any]:
    return {"left": data[0][:, :4], "right": data[0][:, 4:], "labels": data[1], "note": "x"}


def _halved(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return data[0][:, :4], data[0][:, 4:], data[1]


def _labelled(target: Callable[[Any, Any], Tensor], feed: Callable[[Any, Any], Tensor]):
    def step(model, opt, x, y):
        loss = functional.cross_entropy(feed(model, x), target(x, y))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


BATCHES = {
    "an object that holds its labels": (
        _own,
        mlp,
        _labelled(lambda x, y: x.y, lambda m, x: m(x.features)),
    ),
    "a mapping that holds its labels": (
        _mapping,
        TwoInputs,
        _labelled(lambda x, y: x["labels"], lambda m, x: m(x["left"], x["right"])),
    ),
    "a tuple of many tensors": (
        _halved,
        TwoInputs,
        _labelled(lambda x, y: y, lambda m, x: m(*x)),
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("batched", [False, True], ids=["whole", "batches"])
def test_batches_of_any_type(kind, batched):
    batch, model, step = BATCHES[kind]

    def given(n, seed):
        whole = batch(blobs(n, seed))
        return [whole, batch(blobs(n, seed + 50))] if batched else whole

    fine = Parts(model, adam, step, given(120, 1), given(60, 2)).judge()
    assert fine.ok, str(fine)
    assert fine.numbers["heldout_z"] > 3


def test_labels_that_lie_among_the_inputs_tell_nothing_about_themselves():
    batch, model, step = BATCHES["a mapping that holds its labels"]
    train, heldout = batch(permuted(blobs(120, 1))), batch(blobs(60, 2))

    verdict = Parts(model, adam, step, train, heldout).judge()

    assert (verdict.kind, verdict.cause) == ("data", "labels-carry-no-information"), verdict


def test_batches_without_targets_are_judged_by_their_loss():
    net = lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, FEATURES))  # noqa: E731  # a part

    def step(model, opt, x, y):
        assert y is None
        loss = functional.mse_loss(model(x), x)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    verdict = Parts(net, adam, step, blobs(100, 1)[0], [blobs(64, 2)[0]]).judge()
    assert verdict.ok, str(verdict)


def test_targets_shuffled_in_raw_units_are_the_datas_fault():
    verdict = replace(RAW, train=_raw(permuted(line(100, 1)))).judge()
    assert (verdict.kind, verdict.cause) == ("data", "labels-carry-no-information"), verdict


def test_a_learning_rate_of_zero_is_the_optimizers_fault():
    verdict = Parts(opt_fn=lambda m: torch.optim.SGD(m.parameters(), 0.0)).judge()

    assert (verdict.kind, verdict.cause) == ("optimizer", "not-moving")


def test_the_regression_control_sees_permuted_targets():
    verdict = replace(REGRESSION, train=permuted(line(200, 1))).judge()

    assert (verdict.kind, verdict.cause) == ("data", "labels-carry-no-information")


def test_randomness_is_put_back_bit_for_bit():
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002  # the state that user code draws from
    random.seed(7)
    numpy_state = np.random.get_state  # the state that user code draws from
    before = torch.get_rng_state(), numpy_state()[1].copy(), random.getstate()

    Parts().judge()

    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == numpy_state()[1]).all()
    assert before[2] == random.getstate()


def test_randomness_is_put_back_after_an_error_in_the_users_step():
    def broken(model, opt, x, y):
        raise RuntimeError("from the step")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="from the step"):
        Parts(step_fn=broken).judge()
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_call_gives_the_same_verdict_whatever_the_seed_around_it():
    torch.manual_seed(1)
    first = Parts().judge()
    torch.manual_seed(2)

    assert Parts().judge() == first


def test_the_users_data_are_left_alone_even_by_a_step_that_writes_into_its_batch():
    def scribbling(model, opt, x, y):
        x.mul_(0.5)
        return stepping(functional.cross_entropy)(model, opt, x, y)

    train, heldout = blobs(200, 1), blobs(100, 2)
    Parts(step_fn=scribbling, train=train, heldout=heldout).judge()

    for ours, fresh in zip((*train, *heldout), (*blobs(200, 1), *blobs(100, 2)), strict=True):
        assert torch.equal(ours, fresh)


def test_accumulated_gradients_are_not_stale():
    calls = [0]

    def step(model, opt, x, y):
        loss = functional.cross_entropy(model(x), y)
        (loss / 2).backward()
        calls[0] += 1
        if calls[0] % 2 == 0:
            opt.step()
            opt.zero_grad()
        return loss

    assert Parts(step_fn=step).judge().ok


def test_few_held_out_examples_are_said_not_to_judge_the_labels():
    verdict = Parts(heldout=blobs(10, 2)).judge()

    assert verdict.ok
    assert "labels were not judged" in verdict.evidence[1]


def test_the_verdict_goes_through_json():
    verdict = Parts(model_fn=_frozen_first).judge()

    again = json.loads(json.dumps(verdict.to_dict()))

    assert again["kind"] == "code"
    assert again["cause"] == "frozen-params"
    assert again["evidence"] == list(verdict.evidence)
    assert again["numbers"] == {"parameters": 2, "of": 6}


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (Parts(model_fn=lambda net=mlp(): net), ValueError, "returned the same one"),  # noqa: B008  # the fault
        (Parts(expect_frozen=("backbone",)), ValueError, "'backbone' fits no parameter"),
        (Parts(step_fn=lambda *_: None), TypeError, "must return the loss"),
        (Parts(train=iter([blobs(32, 1)])), TypeError, "cannot read examples"),
        (Parts(train=(torch.zeros(3, 8), torch.zeros(4))), ValueError, "first axis"),
        (Parts(train=[]), ValueError, "no examples"),
    ],
)
def test_parts_that_cannot_be_used_are_refused(parts, error, message):
    with pytest.raises(error, match=message):
        parts.judge()
