"""`gradient/norm` is the norm before clipping, as `clip_grad_norm_` itself computes it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it
from torch.nn.utils import clip_grad_norm_  # before the first watch, as users import it

from backslide.contract import Metric
from backslide.measure.snapshot import Snapshot
from backslide.measure.watch import Watch

LIMIT = 0.05


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def loss(model: nn.Module, part: slice = slice(None)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(32, 8, generator=generator)
    targets = torch.randint(0, 3, (32,), generator=generator)
    return F.cross_entropy(model(inputs[part]), targets[part])


def finished(watch: Watch) -> Snapshot:
    (snapshot,) = watch.step(0)
    watch.close()
    assert watch.problems == ()
    return snapshot


def norm_of_rows(snapshot: Snapshot, model: nn.Module) -> float:
    """Of the gradients that the optimizer got."""
    squares = (
        snapshot.row(name, "gradient")["rms"] ** 2 * parameter.numel()
        for name, parameter in model.named_parameters()
    )
    return sum(squares) ** 0.5


@pytest.mark.parametrize("way", [2.0, float("inf")])
def test_the_norm_is_that_before_and_the_rows_are_those_after(way):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    loss(model).backward()
    before = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    assert before > 2 * LIMIT
    clip_grad_norm_(model.parameters(), LIMIT, norm_type=way)
    after = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    optimizer.step()
    snapshot = finished(watch)
    assert snapshot.scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-3)
    assert norm_of_rows(snapshot, model) == pytest.approx(after, rel=1e-5)
    assert after < 0.7 * before


def test_a_limit_that_is_not_reached_changes_nothing():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    loss(model).backward()
    before = float(clip_grad_norm_(model.parameters(), float("inf")))
    optimizer.step()
    assert finished(watch).scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_unscaled_before_it_is_clipped(fused):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    watch = Watch(model, [optimizer], overhead=None)
    scaler.scale(loss(model)).backward()
    scaler.unscale_(optimizer)
    before = float(clip_grad_norm_(model.parameters(), LIMIT))
    scaler.step(optimizer)
    scaler.update()
    snapshot = finished(watch)
    assert snapshot.scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-3)
    assert norm_of_rows(snapshot, model) == pytest.approx(LIMIT, rel=1e-3)


def test_a_skipped_step_leaves_its_clipping_behind():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    watch = Watch(model, [optimizer], overhead=None)
    for broken in (True, False):
        optimizer.zero_grad()
        scaler.scale(loss(model) * (float("inf") if broken else 1.0)).backward()
        scaler.unscale_(optimizer)
        before = float(clip_grad_norm_(model.parameters(), LIMIT))
        scaler.step(optimizer)
        scaler.update()
        if broken:
            assert watch.step(0) == []
    assert finished(watch).scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-3)


def test_accumulated_gradients_are_clipped_once():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    (loss(model, slice(16)) / 2).backward()
    assert watch.step(0) == []
    (loss(model, slice(16, 32)) / 2).backward()
    before = float(clip_grad_norm_(model.parameters(), LIMIT))
    optimizer.step()
    assert finished(watch).scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-3)


def test_parts_that_are_clipped_apart_or_not_at_all_add_up():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    loss(model).backward()
    before = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    clip_grad_norm_(model[0].parameters(), LIMIT / 4)
    clip_grad_norm_(model[2].weight, LIMIT)
    optimizer.step()
    assert finished(watch).scalars[Metric.GRADIENT_NORM] == pytest.approx(before, rel=1e-3)


def test_a_gradient_that_is_no_number_stays_none():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    (loss(model) * float("inf")).backward()
    clip_grad_norm_(model.parameters(), LIMIT)
    optimizer.step()
    norm = finished(watch).scalars[Metric.GRADIENT_NORM]
    assert norm != norm or norm == float("inf")


def test_training_is_the_same():
    models = [mlp() for _ in range(2)]
    for model, watched in zip(models, (True, False), strict=True):
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        watch = Watch(model, [optimizer], overhead=None) if watched else None
        for number in range(5):
            optimizer.zero_grad()
            loss(model).backward()
            returned = clip_grad_norm_(model.parameters(), LIMIT)
            optimizer.step()
            if watch is not None:
                (snapshot,) = watch.step(number)
                norm = snapshot.scalars[Metric.GRADIENT_NORM]
                assert norm == pytest.approx(float(returned), rel=1e-3)
        if watch is not None:
            watch.close()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_step_compiled_with_its_clipping_stays_one_graph():
    model = mlp()
    other = copy.deepcopy(model)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    def step(network):
        loss = network(torch.ones(4, 8)).square().sum()
        loss.backward()
        return clip_grad_norm_(network.parameters(), LIMIT)

    expected = step(other)
    watch = Watch(model, [torch.optim.SGD(model.parameters(), 0.1)], overhead=None)
    watch.detach()  # hooks on the model are another matter; the clipping stays observed
    torch._dynamo.reset()
    clip = torch.compile(
        lambda: clip_grad_norm_(model.parameters(), LIMIT), backend=count, fullgraph=True
    )
    model(torch.ones(4, 8)).square().sum().backward()
    assert clip() == pytest.approx(float(expected))
    assert len(graphs) == 1
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad)
