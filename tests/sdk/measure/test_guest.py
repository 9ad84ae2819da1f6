"""What a watch leaves alone, and what it leaves behind."""

import copy
import io
import random
import weakref

import numpy as np
import pytest
import torch
from tests.sdk.measure.small import batch, mlp, names, train_step, watched_step
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure.watch import Watch


def test_training_is_bit_identical_with_and_without():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.norm = nn.BatchNorm2d(8)
            self.act = nn.ReLU(inplace=True)
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(8 * 36, 5)

        def forward(self, x):
            return self.head(self.drop(self.act(self.norm(self.conv(x)))).flatten(1))

    def train(watching: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
        torch.manual_seed(3)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        watch = Watch(model, [optimizer], overhead=None) if watching else None
        for step in range(12):
            x, y = torch.randn(16, 3, 8, 8), torch.randint(0, 5, (16,))
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if watch is not None:
                assert len(watch.step(step)) == 1
        state = [*model.state_dict().values(), *(each.grad for each in model.parameters())]
        return state, torch.get_rng_state()

    bare, watched = train(watching=False), train(watching=True)
    assert all(torch.equal(a, b) for a, b in zip(bare[0], watched[0], strict=True))
    assert torch.equal(bare[1], watched[1])


def test_numpy_and_python_generators_are_left_alone():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer])
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002  # the global one
    for step in range(5):
        train_step(model, optimizer)
        watch.step(step)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002  # the global one


def test_outputs_are_measured_before_an_operation_in_place():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 3), nn.ReLU(inplace=True))
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert snapshot.row("0", "activation")["zero_fraction"] == 0
    assert snapshot.row("1", "activation")["zero_fraction"] > 0.1


def test_a_watched_model_can_be_copied_and_saved():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    watch.step(0)
    assert model[0]._forward_hooks  # the next step is sampled: hooks are in place
    twin = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    assert b"backslide" not in buffer.getvalue()
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    copy.deepcopy(optimizer)
    for other in (twin, loaded):
        other(torch.full((4, 8), float("nan")))
    train_step(model, optimizer)
    (snapshot,) = watch.step(1)
    assert snapshot.row("0", "activation")["nonfinite_fraction"] == 0
    assert list(model.state_dict()) == list(mlp().state_dict())


def test_watching_again_replaces_the_hooks():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watches = [Watch(model, [optimizer], overhead=None) for _ in range(5)]
    assert len(model[0]._forward_hooks) == 1
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    train_step(model, optimizer)
    assert [len(watch.step(0)) for watch in watches] == [0, 0, 0, 0, 1]


def test_nothing_is_left_after_closing():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    watch.step(0)
    assert watch.close() == []
    assert watch.step(1) == []
    assert not any(module._forward_hooks for module in model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_unsampled_steps_have_no_hooks():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=1e-6)
    watch._cadence.step(1.0, 100.0, 100.0)  # the budget is spent, on a crowded machine too
    train_step(model, optimizer)
    assert len(watch.step(0)) == 1
    assert not model[0]._forward_hooks
    train_step(model, optimizer)
    assert watch.step(1) == []


def test_a_failing_hook_reports_and_leaves_training_alone(monkeypatch):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)

    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("backslide.measure.summary.extremes", broken)
    train_step(model, optimizer)
    watch.step(0)
    assert any("out of memory" in problem for problem in watch.problems)


# TorchScript is deprecated, and still in use.


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_scripted_part_is_reported():
    model = nn.Sequential(nn.Linear(8, 16), torch.jit.script(nn.Linear(16, 3)))
    watch = Watch(model, overhead=None)
    assert any("ScriptModule" in problem for problem in watch.problems)
    model(batch()[0])
    (snapshot,) = watch.step(0)
    assert names(snapshot, "activation") == ["0"]


def test_no_output_is_kept_alive():
    model = mlp()
    watch = Watch(model, overhead=None)
    output = model(batch()[0])
    gone = weakref.ref(output)
    del output
    assert gone() is None
    watch.close()
