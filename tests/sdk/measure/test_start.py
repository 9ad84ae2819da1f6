"""What a watch reports of the parameters at the start."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure.watch import Watch


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def steps(
    model: nn.Module, watched: list, silent: list = (), number: int = 3
) -> dict[str, object]:
    watch = Watch(model, watched, overhead=None)
    for step in range(number):
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


def test_networks_that_compete_are_looked_at_one_after_the_other():
    nets = nn.ModuleDict({"maker": net(), "critic": nn.Linear(2, 1)})
    critics, makers = (
        sgd(nets["critic"]),
        sgd(nets["critic"]),
    )  # the second should move the maker
    watch = Watch(nets, [critics, makers], overhead=None)
    for step in range(3):
        nets["critic"](nets["maker"](torch.randn(16, 4)).detach()).mean().backward()
        critics.step()
        nets["critic"](nets["maker"](torch.randn(16, 4))).mean().backward()
        makers.step()
        watch.step(step)
    watch.close()
    assert watch.graph()["idle"] == [
        f"maker.{n}.{k}" for n in (0, 2, 4) for k in ("weight", "bias")
    ]


def test_frozen_and_unused_parameters_are_not_idle():
    model = net()
    model[0].requires_grad_(False)
    model.unused = nn.Linear(3, 3)
    model.forward = lambda x: model[4](model[3](model[2](model[1](model[0](x)))))
    assert steps(model, [sgd(model[2], model[4])])["idle"] == []


def test_weights_as_even_as_a_random_start_are_named():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(16, 24),
        nn.LSTM(24, 16),
        nn.Linear(16, 32),
        nn.Linear(32, 32),
        nn.Linear(32, 4),
    )
    nn.init.normal_(model[2].weight, std=0.1)
    nn.init.zeros_(model[3].weight)
    watch = Watch(model, [sgd(model)], overhead=None)
    assert watch.graph()["drawn"] == ["0.weight", "1.weight_ih_l0", "1.weight_hh_l0"]
    watch.close()


def test_training_leaves_tails():
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)),
        torch.randn(256, 32),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(x), (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0)).backward()
        optimizer.step()
    watch = Watch(model, [optimizer], overhead=None)
    assert watch.graph()["drawn"] == []
    watch.close()


def test_decay_and_dropout_beyond_measure_are_told():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Dropout(0.95), nn.Linear(8, 2))
    decaying = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=3.0)
    found = steps(model, [decaying])
    assert found["dropping"] == ["2"]
    assert found["shrink"] == pytest.approx(0.03)
    # Adam's own decay goes through its gradients: nobody can tell its share of a weight.
    through = torch.optim.Adam(model.parameters(), 0.01, weight_decay=3.0)
    assert steps(model, [through])["shrink"] == 0.0
    assert steps(model, [sgd(model)])["shrink"] == 0.0


class Functional(nn.Module):
    """Drops by a function in place of a module."""

    def __init__(self, share):
        super().__init__()
        self.first, self.last, self.share = nn.Linear(4, 8), nn.Linear(8, 2), share

    def forward(self, x):
        return self.last(F.dropout(self.first(x).relu(), self.share, self.training))


@pytest.mark.parametrize(("share", "found"), [(0.96, ["dropout"]), (0.5, [])])
def test_dropout_by_a_function_is_told_too(share, found):
    model = Functional(share)
    assert steps(model, [sgd(model)], number=6)["dropping"] == found
