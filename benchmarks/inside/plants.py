"""Retrains with one thing planted in them, and healthy ones."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from benchmarks.inside.networks import Data, Network, train
from torch import Tensor, nn

FRESH, AGAIN = 10, 3
"""Epochs of a training from random weights, and of one from those of a predecessor."""
HEALTHY = 6
"""Healthy retrains for each base."""
SHARE = 0.9
"""Of the training data that each retrain sees."""


@dataclass(frozen=True)
class Retrain:
    """One retrain.

    Attributes:
        fault: what was planted; "healthy" for nothing.
        place: the module it was planted in; "" for the data.
        warm: it started from the base's weights.
    """

    fault: str
    place: str
    warm: bool
    seed: int
    model: nn.Module


def fresh(network: Network, data: Data, seed: int, **fault: object) -> nn.Module:
    """A training from random weights."""
    torch.manual_seed(seed)
    return _trained(network.build(), data, seed, FRESH, **fault)


def again(base: nn.Module, data: Data, seed: int, **fault: object) -> nn.Module:
    """A training that goes on from a base."""
    return _trained(copy.deepcopy(base), data, seed, AGAIN, **fault)


def warm(network: Network, base: nn.Module, data: Data, seed: int) -> Iterator[Retrain]:
    """Healthy retrains from a base, then every fault once; the resets in every layer."""
    middle = network.layers[len(network.layers) // 2]
    faults: list[tuple[str, str, dict[str, object]]] = [("healthy", "", {})] * HEALTHY
    faults += [("layer reset", layer, {"reset": layer}) for layer in network.layers]
    faults += [
        ("layer frozen", middle, {"frozen": middle}),
        ("class missing", "", {"missing": 8}),
        ("labels shifted by one", "", {"shifted": True}),
        ("half of a layer pruned", middle, {"pruned": middle}),
        *(("sigmoid slipped in", act, {"act": act}) for act in network.activations[:1]),
    ]
    for number, (fault, place, how) in enumerate(faults, seed):
        yield Retrain(fault, place, True, number, again(base, data, number, **how))


def cold(network: Network, data: Data, seed: int) -> Iterator[Retrain]:
    """Healthy retrains that start anew, then every fault once."""
    middle = network.layers[len(network.layers) // 2]
    faults: list[tuple[str, str, dict[str, object]]] = [("healthy", "", {})] * HEALTHY
    faults += [
        ("layer frozen at random", middle, {"frozen": middle}),
        ("class missing", "", {"missing": 3}),
        *(("sigmoid slipped in", act, {"act": act}) for act in network.activations[:1]),
    ]
    for number, (fault, place, how) in enumerate(faults, seed):
        yield Retrain(fault, place, False, number, fresh(network, data, number, **how))


def _trained(
    model: nn.Module,
    data: Data,
    seed: int,
    epochs: int,
    *,
    reset: str | None = None,
    frozen: str | None = None,
    missing: int | None = None,
    shifted: bool = False,
    pruned: str | None = None,
    act: str | None = None,
) -> nn.Module:
    x, y = _sample(data.train, seed)
    if missing is not None:
        x, y = x[y != missing], y[y != missing]
    if shifted:
        y = (y + 1) % 10
    if reset is not None:
        torch.manual_seed(seed)
        model.get_submodule(reset).reset_parameters()
    if act is not None:
        model.set_submodule(act, nn.Sigmoid())
    if frozen is not None:
        model.get_submodule(frozen).requires_grad_(False)
    train(model, x, y, epochs=epochs, seed=seed, rate=1e-3 if epochs == AGAIN else 3e-3)
    if pruned is not None:
        weight = model.get_submodule(pruned).weight
        with torch.no_grad():
            weight[: len(weight) // 2] = 0.0
    return model


def _sample(both: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """New data of every retrain: another nine tenths."""
    x, y = both
    chosen = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    chosen = chosen[: int(SHARE * len(y))]
    return x[chosen], y[chosen]
