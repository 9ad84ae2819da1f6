"""Channels that fire together, where, and for which class."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF
from tests.sdk.probe import networks
from torch import nn

from backslide.contract import Probe
from backslide.measure.probe import attribution, removal
from backslide.measure.probe.collect import positioned, put_back
from backslide.measure.probe.groups import activities, find, joined, maps, split
from backslide.measure.probe.layers import Layer, Reading
from backslide.measure.probe.probe import probe


def planted(rows=300, positions=16, channels=24, groups=4):
    """Outputs made of groups of six channels each, active at few places."""
    random = np.random.default_rng(0)
    weights = np.kron(np.eye(groups), np.ones((1, channels // groups))).astype(np.float32)
    active = random.exponential(size=(rows, positions, groups)).astype(np.float32)
    active *= random.random(active.shape) < 0.3
    return active, weights, active @ weights


def test_planted_groups_are_found():
    _, weights, outputs = planted()
    found = find(outputs, signed=False)
    strongest = found.weights[found.share > 0.02]
    cosines = strongest @ (weights / np.linalg.norm(weights, axis=1, keepdims=True)).T
    assert cosines.max(0).min() > 0.99
    assert found.share.sum() == pytest.approx(1)
    assert (np.diff(found.share) <= 0).all()


def test_as_much_is_explained_as_by_another_solver():
    """Outside reference: coordinate descent of scikit-learn's NMF from NNDSVD."""
    random = np.random.default_rng(1)
    outputs = random.gamma(0.5, size=(400, 30)) @ random.gamma(0.3, size=(30, 40))
    outputs = outputs.astype(np.float32)[:, None]
    found = find(outputs, signed=False)
    ours = activities(outputs, found.weights, signed=False) @ found.weights
    theirs = NMF(8, init="nndsvd", max_iter=300, tol=0.0).fit(outputs[:, 0])
    left = np.linalg.norm(outputs - ours)
    assert left < 1.05 * theirs.reconstruction_err_


def test_signs_are_told_apart():
    _, _, outputs = planted()
    both = outputs - 2 * outputs[..., ::-1]
    found = find(both, signed=True)
    assert found.weights.shape == (8, 48)
    assert (found.weights >= 0).all()
    parts = split(both.reshape(-1, 24), signed=True)
    assert (parts[:, :24] - parts[:, 24:]).reshape(both.shape) == pytest.approx(both)
    again = activities(both, found.weights, signed=True) @ joined(found.weights, signed=True)
    assert np.corrcoef(again.ravel(), both.ravel())[0, 1] > 0.95


def test_the_same_groups_are_found_again():
    outputs = planted()[2]
    one, two = find(outputs, signed=False), find(outputs, signed=False)
    assert (one.weights == two.weights).all()


def test_nothing_fires():
    found = find(np.zeros((20, 4, 6), np.float32), signed=False)
    assert found.weights.shape == (0, 6)
    assert activities(np.ones((20, 4, 6), np.float32), found.weights, signed=False).size == 0


def test_maps_show_where():
    active = np.zeros((5, 8 * 8, 2), np.float32)
    active[3, 8 * 6 + 1, 1] = 2.0
    found = maps(active, (8, 8))
    assert found.shape == (5, 2, 16)
    assert np.flatnonzero(found[3, 1]).tolist() == [12]
    assert found.max() == 255
    assert maps(np.ones((1, 6, 1), np.float32), (2, 3)).tolist() == [[[255] * 16]]


def drops(model, inputs, targets, layer, weights, *, signed):
    """What the answers for the true classes lose when a group is taken out of a layer."""
    found = []
    module = model.get_submodule(layer)
    with torch.no_grad():
        whole = model(inputs)
        for group in range(len(weights)):

            def without(_module, _args, output, group=group):
                rows = (
                    output.movedim(1, -1).flatten(1, -2) if output.ndim > 2 else output[:, None]
                )
                active = activities(rows.contiguous().numpy(), weights, signed=signed)
                part = joined(weights, signed=signed)[group] * active[..., group, None]
                part = torch.from_numpy(part).mT.reshape(output.shape)
                return output - part

            hook = module.register_forward_hook(without)
            lost = (whole - model(inputs))[range(len(targets)), targets].numpy()
            hook.remove()
            found.append([lost[targets == label].mean() for label in range(whole.shape[1])])
    return np.array(found)


@pytest.fixture(scope="module")
def trained():
    inputs, targets = networks.images(160)
    model = networks.convolutions()
    networks.trained(model, inputs, targets).eval()
    return model, inputs, targets, probe(model, inputs, targets)


@pytest.mark.parametrize("layer", ["2", "5", "9", "10"])
def test_attribution_agrees_with_taking_groups_out(trained, layer):
    model, inputs, targets, found = trained
    groups = found.tables["groups"].to_pandas()
    groups = groups[groups.layer == layer]
    weights = np.stack(groups.weights).astype(np.float32)
    lost = drops(model, inputs, targets, layer, weights, signed=layer in {"9", "10"})
    said = np.stack(groups.attribution)
    assert said.shape == lost.shape
    assert np.corrcoef(said.ravel(), lost.ravel())[0, 1] > 0.95


def test_without_removals_a_saturated_tanh_misleads(trained, monkeypatch):
    """What the agreement above owes to them: in large networks there are none."""
    model, inputs, targets, found = trained
    monkeypatch.setattr(removal, "WORK", 0)
    monkeypatch.setattr(attribution, "removals", None)  # is not called at all
    first = probe(model, inputs, targets)
    agreed = {}
    for name, each in (("corrected", found), ("first order", first)):
        groups = each.tables["groups"].to_pandas()
        groups = groups[groups.layer == "5"]
        weights = np.stack(groups.weights).astype(np.float32)
        lost = drops(model, inputs, targets, "5", weights, signed=False)
        agreed[name] = np.corrcoef(np.stack(groups.attribution).ravel(), lost.ravel())[0, 1]
    assert agreed["corrected"] > agreed["first order"]


def test_removals_keep_within_their_work():
    assert removal.affordable(100_000, 40, 512) == 512
    assert removal.affordable(2_000_000, 40, 512) == removal.WORK // 80_000_000
    assert removal.affordable(37_000_000, 144, 128) == 0
    assert removal.affordable(0, 0, 10) == 10


@pytest.mark.parametrize(
    ("shape", "reading"),
    [
        ((6, 3, 4, 5), Reading(0, 1, 1)),
        ((4, 6, 3), Reading(1, 1, 2)),
        ((12, 5, 3), Reading(0, 2, 2)),
        ((6,), Reading(0, 1, 0)),
    ],
)
def test_outputs_go_back_as_they_lay(shape, reading):
    output = torch.randn(shape)
    layer = Layer("a", "a", 1, "Linear", "a", 0, 1, reading)
    values = positioned(output, layer)[0]
    assert values.ndim == 3
    assert torch.equal(put_back(values, output, layer), output)


def test_groups_are_described_for_each_example(trained):
    *_, found = trained
    groups = found.tables["groups"].to_pandas()
    conv = groups[groups.layer == "2"]
    assert {len(each) for each in conv.activity} == {160}
    assert {len(each) for each in conv.maps} == {160 * 16}
    assert {len(each) for each in groups[groups.layer == "9"].maps} == {0}
    assert groups.stability.between(0, 1.0001).all()


def test_gradients_of_the_training_stay_as_they_are():
    inputs, targets = networks.images()
    model = networks.Residual()
    model.requires_grad_(requires_grad=False)
    frozen = probe(model, inputs, targets)
    assert all(each.grad is None and not each.requires_grad for each in model.parameters())
    model.requires_grad_()
    free = probe(model, inputs, targets)
    assert all(each.grad is None for each in model.parameters())
    for column in ("attribution", "weights", "activity"):
        ours, theirs = (each.tables["groups"][column].to_pylist() for each in (frozen, free))
        assert ours == pytest.approx(theirs) if column == "share" else ours == theirs
    assert any(each for each in free.tables["groups"]["attribution"].to_pylist())


def attributed(found):
    return [each for each in found.tables["groups"]["attribution"].to_pylist() if each]


def test_one_logit_speaks_for_two_classes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    found = probe(model, torch.randn(40, 6), torch.arange(40) % 2 * 1.0)
    assert found.facts[Probe.CLASSES] == ["0", "1"]
    assert {len(each) for each in attributed(found)} == {2}


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["a", "b"] * 20, "targets are no numbers of outputs"),
        (torch.arange(40) % 5, "targets are no numbers of outputs"),
    ],
)
def test_without_a_number_for_each_class_it_is_said(targets, said):
    found = probe(
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(40, 6), targets
    )
    assert attributed(found) == []
    assert any(said in each for each in found.facts[Probe.PROBLEMS])
    assert found.tables["groups"].num_rows > 0


def test_somebody_elses_backward_hooks_are_not_disturbed():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    calls = []
    model[0].register_full_backward_hook(lambda *_: calls.append(1))
    found = probe(model, torch.randn(40, 6), torch.arange(40) % 3)
    assert calls == []
    assert attributed(found) == []
    assert any("backward hooks" in each for each in found.facts[Probe.PROBLEMS])


def test_examples_followed_back_are_of_all_classes():
    labels = np.array([0] * 500 + [1] * 5 + [-1] * 7)
    rows = attribution._few(labels, 2, 128)
    assert np.bincount(labels[rows]).tolist() == [64, 5]
    assert len(attribution._few(labels, 2, 512)) == 505
