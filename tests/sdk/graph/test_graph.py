"""How a network's modules are connected, seen from one forward pass."""

import json
import logging

import pytest
import torch
from tests.sdk.graph import networks
from tests.sdk.graph.networks import AWKWARD
from tests.sdk.ship.tools import random_states
from torch import nn

import backslide
from backslide.measure.graph.trace import trace, trace_on
from backslide.measure.watch import Watch

CPU = torch.device("cpu")


def traced(name):
    make, inputs = AWKWARD[name]
    torch.manual_seed(0)
    return trace(make(), (inputs(),), {}, device=CPU)


def kinds(found, type_):
    return [node.kind for node in found.nodes if node.type == type_]


@pytest.mark.parametrize("name", AWKWARD)
def test_every_awkward_network_is_one_connected_graph_without_cycles(name):
    found = traced(name)
    ids = [node.id for node in found.nodes]
    assert len(set(ids)) == len(ids)
    place = {known: at for at, known in enumerate(ids)}
    assert all(place[start] < place[end] for start, end in found.edges)
    reached = {"input"}
    for start, end in found.edges:  # in the order of calls
        if start in reached:
            reached.add(end)
    assert reached == {node.id for node in found.nodes if node.type != "ghost"}


def test_joins_are_operations_named_by_where_they_happen():
    found = traced("residual")
    adds = [node for node in found.nodes if node.kind == "add"]
    assert [(node.id, node.name, node.type) for node in adds] == [
        ("blocks.0.add", "blocks.0", "operation"),
        ("blocks.1.add", "blocks.1", "operation"),
    ]
    assert {("stem", "blocks.0.add"), ("blocks.0.conv2", "blocks.0.add")} <= set(found.edges)


def test_repeated_calls_are_told_apart():
    found = traced("shared")
    assert found.calls["again"] == 3
    again = [node.id for node in found.nodes if node.name == "again"]
    assert again == ["again", "again#2", "again#3"]
    assert kinds(found, "operation") == ["relu"] * 3


def test_changes_in_place_are_followed():
    found = traced("unet")
    assert {("up", "add"), ("act", "add"), ("add", "cat"), ("act", "cat")} <= set(found.edges)


def test_experts_that_nobody_asked_are_ghosts():
    found = traced("experts")
    ghosts = [node for node in found.nodes if node.type == "ghost"]
    assert [node.id for node in ghosts] == ["experts.1", "experts.2", "experts.3"]
    assert ghosts[0].parameters == 4 * 6 + 6 + 6 * 4 + 4
    assert {("experts.0.2", "setitem"), ("setitem", "head")} <= set(found.edges)


def test_only_what_ran_is_shown():
    found = traced("branching")
    assert [node.id for node in found.nodes if node.type == "ghost"] == ["right"]
    assert ("left", "head") in found.edges


def test_tied_weights_are_no_ghosts():
    found = traced("dictionary")
    assert kinds(found, "ghost") == []
    assert {("linear", "output"), ("add", "output")} <= set(found.edges)


def test_numbers_that_left_torch_come_back():
    assert ("first", "last") in traced("numpy").edges


def test_a_cell_that_runs_a_thousand_times_and_hundreds_of_nodes():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(3, 3), nn.Linear(3, 1)
            self.deep = nn.Sequential(*(nn.Linear(3, 3) for _ in range(300)))

        def forward(self, x):
            state = torch.zeros_like(x)
            for _ in range(1000):
                state = self.cell(x, state)
            return self.head(self.deep(state))

    found = trace(Loop(), (torch.randn(2, 3),), {}, device=CPU)
    assert found.calls["cell"] == 1000
    assert len([node for node in found.nodes if node.name == "cell"]) == 16
    assert ("cell#16", "deep.0") in found.edges
    assert ("deep.299", "head") in found.edges


def test_parametrized_weights_are_part_of_their_module():
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2)
    )
    found = trace(model, (torch.randn(2, 4),), {}, device=CPU)
    assert [node.id for node in found.nodes] == ["input", "0", "1", "output"]


def test_nothing_is_left_behind():
    model = networks.Residual().train()
    states, hooks = random_states(), [len(each._forward_hooks) for each in model.modules()]
    trace_on(model, torch.randn(5, 1, 8, 8, generator=torch.Generator()))
    assert random_states() == states
    assert [len(each._forward_hooks) for each in model.modules()] == hooks
    assert all(module.training for module in model.modules())


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    monkeypatch.setenv("BACKSLIDE_SPOOL_DIR", str(tmp_path))
    return tmp_path


def train(run, model, optimizer, inputs, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).sum().backward()
        optimizer.step()
        run.step()


def test_the_first_trial_of_a_run_traces_the_network(offline):
    model = networks.Residual()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with backslide.start("lineage", model=model, optimizer=optimizer, overhead=None) as run:
        train(run, model, optimizer, torch.randn(8, 1, 8, 8), 6)
        graph = run._watch.graph()
    assert json.loads(json.dumps(graph)) == graph
    assert ["stem", "blocks.0.add"] in graph["edges"]
    node = next(each for each in graph["nodes"] if each["id"] == "blocks.0.relu#2")
    assert node["calls"] == 2
    assert (node["name"], node["kind"], node["type"]) == ("blocks.0.relu", "ReLU", "module")
    assert node["output"] == [2, 8, 8, 8]
    assert {"alike", "idle"} <= set(graph)
    depths = [each["depth"] for each in graph["nodes"]]
    assert depths == sorted(depths)


class Auxiliary(nn.Module):
    """A head that runs in training only, and one that never does."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.aux, self.forgotten = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.body(x)
        return self.head(x) + self.aux(x) if self.training else self.head(x)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_probe_traces_too_and_what_ran_in_training_is_no_ghost(offline, compiled):
    model = Auxiliary()
    wrapped = torch.compile(model, backend="eager") if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with backslide.start("lineage", model=wrapped, optimizer=optimizer, overhead=None) as run:
        train(run, wrapped, optimizer, torch.randn(8, 4), 2)
        run.probe(torch.randn(8, 4))
        nodes = {each["id"]: each for each in run._watch.graph()["nodes"]}
        edges = run._watch.graph()["edges"]
    assert edges == [["input", "body"], ["body", "head"], ["head", "output"]]
    assert nodes["aux"]["type"] == "module"
    assert nodes["forgotten"]["type"] == "ghost"
    assert nodes["forgotten"]["calls"] == 0


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_script_module_is_listed_and_not_connected(offline, caplog):
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with (
        caplog.at_level(logging.WARNING),
        backslide.start("lineage", model=model, optimizer=None) as run,
    ):
        run.probe(torch.randn(8, 4))
        graph = run._watch.graph()
    assert [(each["name"], each["kind"]) for each in graph["nodes"]] == [
        ("0", "Linear"),
        ("1", "ReLU"),
        ("2", "Linear"),
    ]
    assert graph["edges"] == []


def test_a_network_that_cannot_be_traced_is_described_as_far_as_it_was_seen():
    model = networks.mlp()
    watch = Watch(model, overhead=None)
    model(torch.randn(2, 4))
    watch.step(1)
    watch.trace(torch.randn(2, 3))
    graph = watch.graph()
    assert [each["id"] for each in graph["nodes"]] == ["0", "1", "2"]
    assert any("how modules are connected is not known" in each for each in watch.problems)
