"""What a watch reports of the parameters at the start."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure.watch import Watch


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def steps(model: nn.Module, watched: list, silent: list = ()) -> dict[str, object]:
    watch = Watch(model, watched, overhead=None)
    for step in range(3):
        for optimizer in (*watched, *silent):
            optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(16, 4)), torch.randint(0, 2, (16,))).backward()
        for optimizer in (*watched, *silent):
            optimizer.step()
        watch.step(step)
    watch.close()
    assert watch.problems == ()
    return watch.graph()


def sgd(*modules: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for m in modules for p in m.parameters()], 0.1)


def test_equal_rows_at_the_start_are_named():
    model = net()
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:1].expand(8, 4))
        model[4].weight.zero_()
    found = steps(model, [sgd(model)])
    assert found["alike"] == ["0.weight", "4.weight"]


def test_parameters_in_no_optimizer_are_named():
    model = net()
    assert steps(model, [sgd(model[0], model[4])])["idle"] == ["2.weight", "2.bias"]
    assert steps(model, [sgd(model)])["idle"] == []


def test_what_another_optimizer_moves_is_not_idle():
    model = net()
    found = steps(model, [sgd(model[0])], [sgd(model[2], model[4])])
    assert found["idle"] == []


def test_frozen_and_unused_parameters_are_not_idle():
    model = net()
    model[0].requires_grad_(False)
    model.unused = nn.Linear(3, 3)
    model.forward = lambda x: model[4](model[3](model[2](model[1](model[0](x)))))
    assert steps(model, [sgd(model[2], model[4])])["idle"] == []
