"""Outputs of leaf modules, reduced inside forward hooks.

The hooks live in sampled steps only, except where torch.compile has made them part of a graph.
They keep no reference to an output: an operation in place may overwrite it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from backslide.measure.instruments.graph import Graph
from backslide.measure.instruments.names import WHOLE, plain
from backslide.measure.instruments.tap import Tap
from backslide.measure.instruments.tensors import local
from backslide.measure.meter import Meter
from backslide.measure.summary import SAMPLE, Summary, Units

PASSING: Final = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.modules.dropout._DropoutNd,  # noqa: SLF001  # the one base of all kinds of dropout
)
"""Modules that pass on or drop what another one computed: in the graph, but without a row."""

RECTIFIERS: Final = (nn.ReLU, nn.ReLU6, nn.Threshold, nn.Hardshrink, nn.Softshrink)
SMOOTH_RECTIFIERS: Final = (nn.GELU, nn.Hardswish)
"""Together: activations that can be exactly zero, so that a unit can be dead."""

CHANNELS_FIRST: Final = (
    nn.modules.conv._ConvNd,  # noqa: SLF001  # no public base
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001  # no public base
    nn.modules.instancenorm._InstanceNorm,  # noqa: SLF001  # no public base
    nn.GroupNorm,
)
CHANNELS_LAST: Final = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, *WHOLE)


def bounds(module: nn.Module) -> tuple[float, float] | None:
    """Bounds of a saturating activation; None for other modules."""
    match module:
        case nn.ReLU6():
            return None  # a Hardtanh by inheritance, a rectifier by use
        case nn.Hardtanh():
            return module.min_val, module.max_val
        case nn.Sigmoid() | nn.Hardsigmoid():
            return 0.0, 1.0
        case nn.Tanh() | nn.Softsign():
            return -1.0, 1.0
        case _:
            return None


def observable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules whose outputs are measured: leaves, in order of definition."""
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, WHOLE):
            inside.update(id(child) for child in module.modules())
            yield plain(name) or type(module).__name__, module
        elif next(module.children(), None) is None:
            yield plain(name) or type(module).__name__, module


@dataclass(frozen=True, slots=True)
class _Known:
    """What stays the same of a module from call to call.

    Attributes:
        key: its row; None for modules that pass on what another one computed.
        units: how its output divides into units, if that matters for this kind of module.
        channels_first: where it puts channels; None where it leaves them.
    """

    key: int | None
    units: Units | None
    channels_first: bool | None


class Activations:
    """Measures the outputs of a model's leaf modules while its hooks are in place.

    Args:
        model: the model.
        key_of: gives the row of a module, by name and class name.
        graph: told which modules run.
        meter: told what hooks cost.
        fail: told when a hook had to give up; a hook never raises.

    Attributes:
        fired: whether any module has run yet while hooks were in place.
        silence: calls of `begin` since one last ran.
    """

    def __init__(
        self,
        model: nn.Module,
        key_of: Callable[[str, str], int],
        graph: Graph,
        meter: Meter,
        fail: Callable[[str], None],
    ) -> None:
        """Sets no hooks yet."""
        self.fired = False
        self.silence = 0
        self._model = model
        self._key_of = key_of
        self._graph = graph
        self._fail = fail
        self._meter = meter
        self._summary = Summary()
        self._taps: list[Tap] = []
        self._abandoned = False
        self._known: dict[str, _Known] = {}
        self._calls: dict[str, int] = {}
        self._channels_first: bool | None = None

    @property
    def traced(self) -> bool:
        """Whether hooks are part of a compiled graph."""
        return any(tap.traced for tap in self._taps)

    def unseen(self) -> list[str]:
        """Modules of which no output has come yet, where hooks may be missing in a graph."""
        return [tap.name for tap in self._taps if self.traced and tap.name not in self._graph]

    def begin(self, summary: Summary) -> None:
        """From now on outputs go to `summary`; sets hooks if there are none."""
        if self._abandoned:
            return
        self._summary = summary
        self._calls.clear()
        self.silence += 1
        if not self._taps:
            self._taps = [
                Tap.of(name, module)
                for name, module in observable(self._model)
                if not isinstance(module, torch.jit.ScriptModule)
            ]
        for tap in self._taps:
            tap.open(self._measure, self._meter, self._fail)

    def end(self) -> None:
        """Measures nothing until `begin`; takes the hooks away if it can."""
        if self._abandoned:
            return
        if not self.traced:
            self.detach()
        for tap in self._taps:
            tap.close()

    def abandon(self) -> None:
        """Measures no more, but leaves the hooks: a graph may have been compiled with them."""
        for tap in self._taps:
            tap.close()
        self._abandoned = True

    def detach(self) -> None:
        """Takes the hooks away, except those that a compiled graph holds: they do nothing."""
        for tap in self._taps:
            if tap.traced:
                tap.close()
            else:
                tap.remove()
        self._taps.clear()

    def _measure(self, name: str, module: nn.Module, tensor: Tensor) -> None:
        """Queues one output.

        Between the kernels of a network little of Python is left in the caches: what need not
        be asked at each call is not.
        """
        if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
            return  # what is captured here would run again at every replay of the CUDA graph
        if tensor.is_inference():
            return  # nobody learns from it, and what is made of it could not be added to later
        self.fired, self.silence = True, 0
        known = self._known.get(name)
        if known is None:
            self._graph.ran(name, module, tuple(tensor.shape))
            known = self._known[name] = self._learn(name, module, tensor)
        if known.channels_first is not None:
            self._channels_first = known.channels_first
        if known.key is None:
            return
        call = self._calls[name] = self._calls.get(name, 0) + 1
        with self._summary.timing.on(tensor.device):
            self._summary.add(
                known.key,
                local(tensor),
                units=known.units,
                # Called a thousand times in a step, it must not keep a thousand full samples.
                sample=max(64, SAMPLE // call),
            )

    def _learn(self, name: str, module: nn.Module, tensor: Tensor) -> _Known:
        """What there is to know about a module that was called for the first time."""
        channels_first = None
        if isinstance(module, CHANNELS_FIRST):
            channels_first = True
        elif isinstance(module, CHANNELS_LAST):
            channels_first = False
        if isinstance(module, PASSING):
            return _Known(None, None, channels_first)
        key = self._key_of(name, type(module).__name__)
        return _Known(key, self._units(module, tensor), channels_first)

    def _units(self, module: nn.Module, tensor: Tensor) -> Units | None:
        """How an output divides into units, if it matters for this kind of module."""
        limits = bounds(module)
        rectifier = isinstance(module, (*RECTIFIERS, *SMOOTH_RECTIFIERS))
        if tensor.ndim < 2 or (limits is None and not rectifier):
            return None  # of one example alone zero means nothing yet
        # Channels lie where the last layer with weights put them.
        channels_first = self._channels_first
        if channels_first is None:
            channels_first = tensor.ndim >= 4
        axis = 1 if channels_first else tensor.ndim - 1
        return Units(axis, limits, isinstance(module, (nn.ReLU, nn.ReLU6)))
