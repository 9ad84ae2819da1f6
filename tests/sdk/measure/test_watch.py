"""What a watch reports about real training steps, and what it leaves alone."""

import copy
import io
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F  # noqa: N812  # the field's name for it
from torch.utils.checkpoint import checkpoint

from backslide.contract import Metric
from backslide.measure.snapshot import Snapshot, decode, encode
from backslide.measure.watch import PATIENCE, Watch


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def batch(rows: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(rows, 8, generator=generator),
        torch.randint(0, 3, (rows,), generator=generator),
    )


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: int = 32) -> None:
    inputs, targets = batch(rows)
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.step()


def watched_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Snapshot:
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    (snapshot,) = watch.step(0)
    watch.close()
    assert watch.problems == ()
    return snapshot


def names(snapshot: Snapshot, role: str) -> list[str]:
    catalogue = snapshot.catalogue
    pairs = zip(catalogue.names, catalogue.roles, strict=True)
    return [name for name, each in pairs if each == role]


def rms(tensor: torch.Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


def test_the_four_roles_are_what_they_say():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    old = copy.deepcopy(model)
    snapshot = watched_step(model, optimizer)
    hidden = old[0](batch()[0])
    assert names(snapshot, "activation") == ["0", "1", "2"]
    assert names(snapshot, "gradient") == ["0.weight", "0.bias", "2.weight", "2.bias"]
    row = snapshot.row("0", "activation")
    assert row["mean"] == pytest.approx(hidden.mean().item(), abs=1e-6)
    assert row["std"] == pytest.approx(hidden.std(correction=0).item(), rel=1e-4)
    assert np.isnan(row["dead_fraction"])
    relu = snapshot.row("1", "activation")
    assert relu["zero_fraction"] == pytest.approx((hidden <= 0).float().mean().item())
    gradient = model[2].weight.grad
    assert snapshot.row("2.weight", "gradient")["rms"] == pytest.approx(rms(gradient), rel=1e-5)
    update = model[2].weight - old[2].weight
    assert snapshot.row("2.weight", "update")["rms"] == pytest.approx(rms(update), rel=1e-5)
    assert snapshot.row("2.weight", "weight")["rms"] == pytest.approx(
        rms(model[2].weight), rel=1e-5
    )
    assert snapshot.catalogue.kinds[:3] == ("Linear", "ReLU", "Linear")


def test_network_figures():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    old = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    snapshot = watched_step(model, optimizer)
    new = nn.utils.parameters_to_vector(model.parameters()).detach()
    gradients = torch.cat([each.grad.flatten() for each in model.parameters()])
    assert snapshot.scalars[Metric.GRADIENT_NORM] == pytest.approx(
        gradients.norm().item(), rel=1e-5
    )
    assert snapshot.scalars[Metric.UPDATE_RATIO] == pytest.approx(
        ((new - old).norm() / new.norm()).item(), rel=1e-4
    )


def test_the_share_of_time_is_measured():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    watch = Watch(model, [optimizer], overhead=None)
    for step in range(3):
        train_step(model, optimizer)
        (snapshot,) = watch.step(step)
    assert 0 < snapshot.scalars[Metric.OVERHEAD] < 1


def test_snapshots_become_the_layers_table():
    snapshot = watched_step(mlp_ := mlp(), torch.optim.Adam(mlp_.parameters()))
    table = decode(encode(snapshot), {snapshot.catalogue.digest: snapshot.catalogue})
    assert table.num_rows == 3 + 3 * 4
    assert table["depth"].to_pylist() == [0, 1, 2] + [0, 0, 2, 2] * 3


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


def test_dead_units_are_found_and_live_ones_are_not():
    model = mlp()
    with torch.no_grad():
        model[0].bias[:4] = -100.0
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert snapshot.row("1", "activation")["dead_fraction"] == pytest.approx(4 / 16)
    assert snapshot.row("0.weight", "gradient")["dead_fraction"] == pytest.approx(4 / 16)
    assert snapshot.scalars[Metric.DEAD_FRACTION] == pytest.approx(4 / 16)


def test_dead_units_behind_a_functional_relu_show_in_the_gradient():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 10), nn.Linear(10, 3)

        def forward(self, x):
            return self.b(F.relu(self.a(x)))

    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.a.bias[:5] = -100.0
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert snapshot.row("a.weight", "gradient")["dead_fraction"] == pytest.approx(0.5)


def test_saturated_units():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3), nn.Sigmoid())
    with torch.no_grad():
        model[0].bias[:3] = 100.0
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert snapshot.row("1", "activation")["saturated_fraction"] == pytest.approx(0.3)
    assert snapshot.row("3", "activation")["saturated_fraction"] == 0
    assert np.isnan(snapshot.row("1", "activation")["dead_fraction"])


def test_channels_are_units_after_a_convolution_and_features_after_a_linear_layer():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6, 5), nn.ReLU()
    )
    with torch.no_grad():
        model[0].bias[0] = -100.0
        model[3].bias[:2] = -100.0
    watch = Watch(model, overhead=None)
    output = model(torch.randn(16, 2, 8))
    (snapshot,) = watch.step(0)
    dead = (output == 0).all(0).float().mean().item()
    assert dead >= 2 / 5
    assert snapshot.row("1", "activation")["dead_fraction"] == pytest.approx(1 / 4)
    assert snapshot.row("4", "activation")["dead_fraction"] == pytest.approx(dead)


def test_a_model_without_an_optimizer_has_activations_and_weights():
    model = mlp()
    watch = Watch(model, overhead=None)
    model(batch()[0])
    (snapshot,) = watch.step(0)
    assert set(snapshot.catalogue.roles) == {"activation", "weight"}
    assert Metric.GRADIENT_NORM not in snapshot.scalars


def test_an_optimizer_without_a_model_goes_by_positions():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(None, [optimizer], overhead=None)
    train_step(model, optimizer)
    (snapshot,) = watch.step(0)
    assert names(snapshot, "gradient") == [f"parameter.{index}" for index in range(4)]
    assert set(snapshot.catalogue.roles) == {"gradient", "weight", "update"}


def test_evaluation_is_not_watched():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    model.eval()
    model(torch.full((500, 8), float("nan")))
    model.train()
    (snapshot,) = watch.step(0)
    assert snapshot.row("0", "activation")["nonfinite_fraction"] == 0
    assert snapshot.counts is None
    assert snapshot.catalogue.counts[0] == 32 * 16


def test_accumulated_gradients_are_read_once_complete():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = batch()
    seen = []
    for micro in range(4):
        F.cross_entropy(model(inputs[micro::4]), targets[micro::4]).backward()
        if micro == 3:
            optimizer.step()
            total = rms(model[0].weight.grad)
            optimizer.zero_grad()
        seen.append(watch.step(micro))
    assert [len(each) for each in seen] == [0, 0, 0, 1]
    (snapshot,) = seen[-1]
    assert snapshot.row("0.weight", "gradient")["rms"] == pytest.approx(total, rel=1e-5)
    assert snapshot.catalogue.counts[0] == 32 * 16  # all micro-batches


def test_a_step_that_never_comes_is_reported():
    model = mlp()
    watch = Watch(model, [torch.optim.SGD(model.parameters(), lr=0.1)], overhead=None)
    got = []
    for step in range(PATIENCE):
        model(batch()[0])
        got += watch.step(step)
    assert len(got) == 1
    assert set(got[0].catalogue.roles) == {"activation"}
    assert any("no optimizer took a step" in problem for problem in watch.problems)


def test_a_closure_computes_the_gradients_of_its_own_step():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for each in model.parameters():
        each.grad = torch.full_like(each, 1e6)  # stale: from the step before
    watch = Watch(model, [optimizer], overhead=None)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch()[0]), batch()[1])
        loss.backward()
        return loss

    optimizer.step(closure)
    (snapshot,) = watch.step(0)
    assert snapshot.row("0.weight", "gradient")["rms"] == pytest.approx(
        rms(model[0].weight.grad), rel=1e-5
    )


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_seen_unscaled_and_skipped_steps_are_no_fault(fused):
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = batch()
    snapshots = []
    for step in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        if step == 1:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        scale = scaler.get_scale()
        true = rms(model[0].weight.grad / scale)
        scaler.step(optimizer)
        scaler.update()
        got = watch.step(step)
        snapshots += got
        for snapshot in got:
            gradient = snapshot.row("0.weight", "gradient")
            if step == 1:  # only the fused optimizer is called for the skipped step
                assert fused
                assert np.isnan(gradient["rms"])
                assert np.isnan(snapshot.row("0.weight", "update")["rms"])
                assert np.isfinite(snapshot.row("0.weight", "weight")["rms"])
            else:
                assert gradient["rms"] == pytest.approx(true, rel=1e-4)
                assert gradient["nonfinite_fraction"] == 0
    assert len(snapshots) == (4 if fused else 3)
    assert watch.problems == ()


def test_half_precision_training():
    model = mlp().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = batch()
    F.cross_entropy(model(inputs.bfloat16()).float(), targets).backward()
    optimizer.step()
    (snapshot,) = watch.step(0)
    assert watch.problems == ()
    assert snapshot.row("2.weight", "gradient")["rms"] == pytest.approx(
        rms(model[2].weight.grad), rel=1e-3
    )


def test_autocast():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    (snapshot,) = watch.step(0)
    assert watch.problems == ()
    assert snapshot.row("0", "activation")["rms"] == pytest.approx(
        rms(model[0](inputs)), rel=0.2
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_count_once(reentrant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(checkpoint(self.body, x, use_reentrant=reentrant))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = batch()
    F.cross_entropy(model(inputs.requires_grad_()), targets).backward()
    optimizer.step()
    (snapshot,) = watch.step(0)
    assert snapshot.catalogue.counts[:3] == (32 * 8, 32 * 8, 32 * 3)
    assert np.isfinite(snapshot.row("body.0.weight", "gradient")["rms"])


def test_two_optimizers_that_take_turns():
    generator, critic = mlp(), mlp()
    model = nn.ModuleDict({"generator": generator, "critic": critic})
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (generator, critic)]
    watch = Watch(model, optimizers, overhead=None)
    snapshots = []
    for step in range(4):
        train_step([generator, critic][step % 2], optimizers[step % 2])
        snapshots += watch.step(step)
    assert len(snapshots) == 4
    last = snapshots[-1]
    assert np.isfinite(last.row("critic.0.weight", "gradient")["rms"])
    assert np.isnan(last.row("generator.0.weight", "gradient")["rms"])
    table = decode(encode(last), {last.catalogue.digest: last.catalogue})
    assert {name.split(".")[0] for name in table["layer"].to_pylist()} == {"critic"}
    # The catalogue grew once, and then stays: a new one is written only when there is news.
    assert snapshots[1].catalogue == snapshots[2].catalogue == snapshots[3].catalogue


def test_tied_and_frozen_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            self.frozen = nn.Linear(8, 8)
            self.head = nn.Linear(8, 11, bias=False)
            self.head.weight = self.embed.weight
            self.frozen.requires_grad_(requires_grad=False)

        def forward(self, x):
            return self.head(self.frozen(self.embed(x)))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    tokens = torch.arange(11)
    F.cross_entropy(model(tokens), tokens).backward()
    optimizer.step()
    (snapshot,) = watch.step(0)
    for role in ("gradient", "weight", "update"):
        assert names(snapshot, role) == ["embed.weight"]
    assert np.isnan(snapshot.row("embed.weight", "gradient")["dead_fraction"])


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(100, 4, sparse=True), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    F.cross_entropy(model(torch.tensor([1, 1, 2])), torch.tensor([0, 1, 2])).backward()
    dense = model[0].weight.grad.to_dense()
    optimizer.step()
    (snapshot,) = watch.step(0)
    assert watch.problems == ()
    assert snapshot.row("0.weight", "gradient")["abs_max"] == pytest.approx(
        dense.abs().max().item(), rel=1e-5
    )


def test_recurrent_and_attention_modules_and_modules_called_many_times():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 8, batch_first=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.cell = nn.GRUCell(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x, _ = self.rnn(x)
            x, _ = self.attention(x, x, x)
            state = torch.zeros(x.shape[0], 8)
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return self.head(state)

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    inputs, targets = torch.randn(4, 50, 8), torch.tensor([0, 1, 2, 0])
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    (snapshot,) = watch.step(0)
    assert watch.problems == ()
    assert names(snapshot, "activation") == ["rnn", "attention", "cell", "head"]
    assert snapshot.catalogue.counts[:4] == (4 * 50 * 8, 4 * 50 * 8, 4 * 50 * 8, 4 * 3)
    assert np.isfinite(snapshot.row("attention.out_proj.weight", "gradient")["rms"])


def test_batches_of_varying_size_share_one_catalogue():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    snapshots = []
    for step, rows in enumerate([32, 20, 32]):
        train_step(model, optimizer, rows)
        snapshots += watch.step(step)
    assert len({snapshot.catalogue.digest for snapshot in snapshots}) == 1
    assert snapshots[1].counts[0] == 20 * 16
    assert snapshots[2].counts is None


def test_an_overflow_is_seen_where_it_happens():
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = float("inf")
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert snapshot.row("1", "activation")["nonfinite_fraction"] == 0
    assert snapshot.row("2", "activation")["nonfinite_fraction"] > 0
    assert not np.isfinite(snapshot.scalars[Metric.GRADIENT_NORM])


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
    assert len(optimizer._optimizer_step_pre_hooks) == 2  # of steps and of trials
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


def test_the_graph_is_in_the_order_of_calls():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 3), nn.Linear(8, 4)

        def forward(self, x):
            return self.last(F.relu(self.first(x)))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    watch.step(0)
    keys = ("name", "kind", "depth", "parameters", "output")
    assert [[node[key] for key in keys] for node in watch.graph()["nodes"]] == [
        ["first", "Linear", 0, 36, [32, 4]],
        ["last", "Linear", 1, 15, [32, 3]],
    ]


def test_a_large_model_is_sampled_instead_of_copied(monkeypatch):
    monkeypatch.setattr("backslide.measure.instruments.updates.COPIED", 100)
    monkeypatch.setattr("backslide.measure.instruments.updates.LARGE_SAMPLE", 64)
    model = nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    watch = Watch(model, [optimizer], overhead=None)
    model.weight.grad = torch.full((64, 64), 0.25)
    optimizer.step()
    (snapshot,) = watch.step(0)
    row = snapshot.row("weight", "update")
    assert (row["mean"], row["rms"]) == pytest.approx((-0.25, 0.25))
    assert snapshot.catalogue.counts[snapshot.catalogue.roles.index("update")] == 64 * 64


def test_no_output_is_kept_alive():
    model = mlp()
    watch = Watch(model, overhead=None)
    output = model(batch()[0])
    gone = weakref.ref(output)
    del output
    assert gone() is None
    watch.close()


def test_distributed_tensors_are_measured_by_their_local_part(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.Linear(8, 4, bias=False)
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        watch = Watch(model, [optimizer], overhead=None)
        model(batch()[0]).square().mean().backward()
        gradient = rms(model.weight.grad.to_local())
        optimizer.step()
        (snapshot,) = watch.step(0)
        (problem,) = watch.problems
        assert "sharded over processes" in problem
        assert snapshot.row("weight", "gradient")["rms"] == pytest.approx(gradient, rel=1e-5)
        assert snapshot.row("weight", "update")["rms"] == pytest.approx(gradient / 2, rel=1e-4)
        watch.close()
    finally:
        torch.distributed.destroy_process_group()
