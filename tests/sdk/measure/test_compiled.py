"""Watching a compiled model: one graph, no recompilation, and the numbers of eager mode."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional as F  # noqa: N812  # the field's name for it
from torch.utils.checkpoint import checkpoint

from backslide.measure.instruments.tap import Tap
from backslide.measure.snapshot import Snapshot
from backslide.measure.watch import Watch

IN_GRAPH = "inputs, targets and trials are not measured"


class Checkpointed(nn.Module):
    """Recomputes its body in the backward pass."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(checkpoint(self.body, x, use_reentrant=False))


class Attending(nn.Module):
    """Attention, normalisation, and a block that is called twice."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        tokens = self.embed(x)[:, None].expand(-1, 4, -1)
        return self.head(self.block(self.block(tokens)).mean(1))


class Own(nn.Module):
    """A leaf that is no part of torch, which alone makes a graph."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 3))

    def forward(self, x):
        return x @ self.weight


def rectified() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 3))


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def train(
    make: type[nn.Module], backend: str | None, *, watching: bool = True, gap: bool = True
) -> tuple[list[Snapshot], Watch | None, list[torch.Tensor]]:
    """Six steps; in the third and fourth one nothing is sampled."""
    torch.manual_seed(0)
    model = make()
    trained = (
        model if backend is None else torch.compile(model, backend=backend, fullgraph=True)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(trained, [optimizer], overhead=0.5) if watching else None
    inputs, targets = torch.randn(32, 8), torch.randint(0, 3, (32,))
    snapshots = []
    for step in range(6):
        optimizer.zero_grad()
        F.cross_entropy(trained(inputs), targets).backward()
        optimizer.step()
        if watch is not None:
            rest = gap and step in (1, 2)
            watch._cadence.step = lambda *_args, rest=rest, **_steps: not rest
            snapshots += watch.step(step)
    return snapshots, watch, [each.detach() for each in model.parameters()]


def activations(snapshot: Snapshot) -> tuple[list[str], np.ndarray]:
    rows = [row for row, role in enumerate(snapshot.catalogue.roles) if role == "activation"]
    return [snapshot.catalogue.names[row] for row in rows], snapshot.stats[rows]


@pytest.mark.parametrize("make", [rectified, Checkpointed, Attending])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_numbers_are_those_of_eager_mode(make, backend):
    plain, _, _ = train(make, None)
    snapshots, watch, _ = train(make, backend)
    assert [snapshot.step for snapshot in snapshots] == [0, 1, 4, 5]
    for one, other in zip(plain, snapshots, strict=True):
        names, stats = activations(one)
        assert activations(other)[0] == names
        assert one.catalogue.counts == other.catalogue.counts
        np.testing.assert_allclose(activations(other)[1], stats, rtol=1e-4, atol=1e-6)
    assert [problem for problem in watch.problems if IN_GRAPH not in problem] == []


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_cadence_causes_no_break_and_no_compilation(backend):
    train(rectified, backend, watching=False)
    bare = dict(counters["stats"])["unique_graphs"]
    torch._dynamo.reset()
    counters.clear()
    snapshots, watch, _ = train(rectified, backend)
    watch.close()
    assert len(snapshots) == 4
    assert dict(counters["stats"])["unique_graphs"] == bare == 1
    assert not counters["graph_break"]


def test_training_is_bit_identical_with_and_without():
    _, _, bare = train(Checkpointed, "aot_eager", watching=False)
    torch._dynamo.reset()
    _, _, watched = train(Checkpointed, "aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
# Inductor's own start-up warns in this version of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor_keeps_the_hooks():
    plain, _, _ = train(rectified, None)
    snapshots, _, _ = train(rectified, "inductor")
    assert len(snapshots) == 4
    assert dict(counters["stats"])["unique_graphs"] == 1
    for one, other in zip(plain, snapshots, strict=True):
        np.testing.assert_allclose(activations(other)[1], activations(one)[1], rtol=1e-3)


def test_compiling_after_the_start_is_seen_in_the_graph():
    torch.manual_seed(0)
    model = rectified()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for step in range(4):
        optimizer.zero_grad()
        compiled(torch.randn(32, 8)).square().mean().backward()
        optimizer.step()
        (snapshot,) = watch.step(step)
        assert activations(snapshot)[0] == ["0", "1", "2"]
        assert np.isfinite(activations(snapshot)[1][:, 0]).all()
    assert dict(counters["stats"])["unique_graphs"] == 1
    assert any(IN_GRAPH in problem for problem in watch.problems)


def test_a_part_that_is_compiled_counts_like_the_others():
    torch.manual_seed(0)
    model = nn.Sequential(Checkpointed(), nn.Linear(3, 3))
    model[0].compile(backend="eager", fullgraph=True)
    watch = Watch(model, overhead=None)
    for step in range(3):
        model(torch.randn(32, 8))
        (snapshot,) = watch.step(step)
        assert activations(snapshot)[0] == ["0.body.0", "0.body.1", "0.head", "1"]
        assert np.isfinite(activations(snapshot)[1][:, 0]).all()
    assert dict(counters["stats"])["unique_graphs"] == 1


def test_a_hook_beside_a_graph_runs_as_written():
    """The hook on a module compiled by itself is called outside of its graph."""
    model = nn.Sequential(Own(), nn.Linear(3, 3))
    model[0].compile(backend="eager", fullgraph=True)
    model(torch.randn(4, 8))
    bare = dict(counters["stats"])["unique_graphs"]
    torch._dynamo.reset()
    counters.clear()
    watch = Watch(model, overhead=None)
    model(torch.randn(4, 8))
    (snapshot,) = watch.step(0)
    assert activations(snapshot)[0] == ["0", "1"]
    assert dict(counters["stats"])["unique_graphs"] == bare


def test_evaluation_of_a_compiled_model_is_not_watched():
    model = rectified()
    compiled = torch.compile(model, backend="eager")
    watch = Watch(compiled, overhead=None)
    compiled(torch.randn(32, 8))
    model.eval()
    compiled(torch.full((32, 8), float("nan")))
    (snapshot,) = watch.step(0)
    assert (activations(snapshot)[1][:, 5] == 0).all()


def test_watching_again_takes_the_hooks_over():
    model = rectified()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for _ in range(3):
        watch = Watch(compiled, overhead=None)
        compiled(torch.randn(32, 8))
        (snapshot,) = watch.step(0)
        assert np.isfinite(activations(snapshot)[1][:, 0]).all()
    hooks = [hook for hook in model[0]._forward_hooks.values() if isinstance(hook, Tap)]
    assert len(hooks) == 1
    assert dict(counters["stats"])["unique_graphs"] == 1


def test_a_model_that_hides_from_its_hooks_is_reported():
    """The module that is trained shares parameters with the watched one, not its hooks."""
    watched, trained = rectified(), rectified()
    optimizer = torch.optim.SGD(watched.parameters(), lr=0.1)
    watch = Watch(watched, [optimizer], overhead=None)
    for step in range(3):
        trained(torch.randn(4, 8)).sum().backward()
        optimizer.step()
        watch.step(step)
    assert any("no module of this model ran" in problem for problem in watch.problems)
