"""What a watch reports about real training steps."""

import copy

import numpy as np
import pytest
import torch
from tests.sdk.measure.small import batch, mlp, names, rms, train_step, watched_step
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.contract import Metric
from backslide.measure.snapshot import decode, encode
from backslide.measure.watch import Watch


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


def test_an_overflow_is_seen_where_it_happens():
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = float("inf")
    snapshot = watched_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert snapshot.row("1", "activation")["nonfinite_fraction"] == 0
    assert snapshot.row("2", "activation")["nonfinite_fraction"] > 0
    assert not np.isfinite(snapshot.scalars[Metric.GRADIENT_NORM])


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
