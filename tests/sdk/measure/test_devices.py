"""A model on two devices, which are pretended: every tensor carries where it is.

An operation on tensors from two places fails, and so does one that waits for a device.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from backslide.contract import Metric
from backslide.measure.watch import Watch

WAITING = ("item", "tolist", "numpy", "__bool__", "nonzero")


class Places(TorchFunctionMode):
    """Devices `xpu:0`, `xpu:1`, ... whose memory is the CPU's.

    Attributes:
        copies: how often something came to the host.
    """

    copies = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        mine = [each._place for each in tree_leaves((args, kwargs)) if hasattr(each, "_place")]
        if func == Tensor.device.__get__ and mine:
            return torch.device("xpu", mine[0])
        if name == "cpu" or (name == "to" and isinstance(args[1], (torch.device, str))):
            return self._moved(args[0], torch.device(args[1] if name == "to" else "cpu"))
        if name in WAITING and mine:
            raise RuntimeError(f"{name} waits for a device")
        if name == "_foreach_copy_":  # pair by pair
            assert [each._place for each in args[0]] == [each._place for each in args[1]]
            return func(*args, **kwargs)
        if len(set(mine)) > 1:
            raise RuntimeError(f"{name} on tensors from {sorted(set(mine))}")
        wanted = kwargs.pop("device", None)
        place = wanted.index if wanted is not None and wanted.type == "xpu" else None
        if wanted is not None and place is None:
            kwargs["device"] = wanted
        result = func(*args, **kwargs)
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and (mine or place is not None):
                put(each, mine[0] if mine else place)
        return result

    def _moved(self, tensor: Tensor, target: torch.device) -> Tensor:
        self.copies += target.type == "cpu" and hasattr(tensor, "_place")
        copied = tensor.clone()
        return put(copied, target.index) if target.type == "xpu" else copied


def put(tensor: Tensor, place: int) -> Tensor:
    tensor._place = place
    return tensor


class Split(nn.Module):
    """Two halves; the activations travel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 96), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(96, 80), nn.Linear(80, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs).to(torch.device("xpu", 1)))


def trained(model: nn.Module, inputs: Tensor) -> tuple[object, Watch]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1, foreach=False)
    watch = Watch(model, [optimizer], overhead=None)
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()
    (snapshot,) = watch.step(1)
    watch.close()
    return snapshot, watch


@pytest.fixture
def inputs() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(64, 8)


def test_each_device_reduces_its_own_and_sends_once(inputs, monkeypatch):
    torch.manual_seed(1)
    model = Split()
    monkeypatch.setattr(Split, "forward", lambda self, x: self.second(self.first(x)))
    monkeypatch.setattr("backslide.measure.instruments.start._looks", lambda _: ([], []))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected, _ = trained(model, inputs)
    monkeypatch.undo()
    monkeypatch.setattr("backslide.measure.instruments.start._looks", lambda _: ([], []))
    model.load_state_dict(state)
    for place, half in enumerate((model.first, model.second)):
        for parameter in half.parameters():
            put(parameter, place)
    with Places() as places:
        snapshot, watch = trained(model, put(inputs, 0))
    assert watch.problems == ()
    assert snapshot.catalogue.digest == expected.catalogue.digest
    assert snapshot.stats == pytest.approx(expected.stats, rel=1e-6, nan_ok=True)
    assert (snapshot.histogram == expected.histogram).all()
    for key in (Metric.GRADIENT_NORM, Metric.UPDATE_RATIO, Metric.DEAD_FRACTION):
        assert snapshot.scalars[key] == pytest.approx(expected.scalars[key])
    assert places.copies == 2 + 2  # one a device; the batch's inputs and outputs


def test_the_pretended_devices_notice_a_mix():
    with Places(), pytest.raises(RuntimeError, match="tensors from"):
        put(torch.ones(2), 0) + put(torch.ones(2), 1)
    with Places(), pytest.raises(RuntimeError, match="waits"):
        put(torch.ones(1), 0).item()
