"""What a watch reports of loops, precisions and networks of all kinds."""

import numpy as np
import pytest
import torch
from tests.sdk.measure.small import batch, mlp, names, rms, train_step
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F  # noqa: N812  # the field's name for it
from torch.utils.checkpoint import checkpoint

from backslide.measure.snapshot import decode, encode
from backslide.measure.watch import PATIENCE, Watch


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
