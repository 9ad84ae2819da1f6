"""The forward hook on one module, inside and outside of compiled graphs.

Inside a graph of torch.compile no Python of ours can run, so the hook leaves an operator there
that calls back with the real tensor. It does not break the graph, and whether a step is sampled
is asked when it runs, so that the cadence causes no compilation. Taking the hook away would, so
one that was compiled stays.
"""

import itertools
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from backslide.measure.instruments.hook import Hook
from backslide.measure.instruments.tensors import first_floating, in_backward
from backslide.measure.meter import Meter

Sink = Callable[[str, nn.Module, Tensor], None]

_numbers = itertools.count()
_taps: "weakref.WeakValueDictionary[int, Tap]" = weakref.WeakValueDictionary()

_OPERATORS: Final = torch.library.Library("backslide", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch has no types here
_OPERATORS.define("observe(Tensor output, Tensor(a!) anchor, int tap) -> ()")  # type: ignore[no-untyped-call]  # torch has no types here
"""`anchor` is declared as written to, so that no compiler drops the call as useless."""


class Tap(Hook):
    """Hands a module's outputs on while it is open; in training mode, recomputations left out.

    Attributes:
        name: of the module.
        traced: whether the hook is part of a compiled graph that has run.
    """

    __slots__ = (
        "__weakref__", "_anchor", "_fail", "_handle", "_meter", "_module", "_number", "_sink",
        "name", "traced",
    )  # fmt: skip

    def __init__(self, name: str, module: nn.Module) -> None:
        """Hooks itself into a module; closed."""
        self.traced = False
        self.name = name
        self._module = weakref.ref(module)
        self._anchor = torch.zeros(1, device=_device(module))
        self._number = next(_numbers)
        self._sink: Sink | None = None
        self._meter = Meter()
        self._fail: Callable[[str], None] | None = None
        _taps[self._number] = self
        self._handle: RemovableHandle = module.register_forward_hook(self)

    @classmethod
    def of(cls, name: str, module: nn.Module) -> "Tap":
        """The hook that a module has, or a new one: compiled graphs know the one they have."""
        for hook in module._forward_hooks.values():  # noqa: SLF001  # there is no public view
            if isinstance(hook, Tap) and hook._sink is None:  # noqa: SLF001  # its own class
                return hook
        return cls(name, module)

    def open(self, sink: Sink, meter: Meter, fail: Callable[[str], None]) -> None:
        """From now on outputs go to `sink`; it may raise, and `fail` is told."""
        self._sink, self._meter, self._fail = sink, meter, fail

    def close(self) -> None:
        """Hands nothing on until `open`."""
        self._sink = self._fail = None

    def remove(self) -> None:
        """Takes the hook away."""
        self.close()
        self._handle.remove()

    def __call__(self, module: nn.Module, _args: object, output: object) -> None:
        """The forward hook: never raises, never changes the output."""
        if torch.compiler.is_compiling():
            if module.training and not torch.compiler.is_exporting():
                tensor = first_floating(output)
                if tensor is not None:
                    torch.ops.backslide.observe(tensor.detach(), self._anchor, self._number)
        elif module.training and self._sink is not None:
            tensor = first_floating(output)
            if tensor is not None and not in_backward():
                self.take(module, tensor.detach())

    def observed(self, output: Tensor) -> None:
        """The same from inside a compiled graph."""
        self.traced = True
        module = self._module()
        if self._sink is not None and module is not None and not in_backward():
            self.take(module, output)

    def take(self, module: nn.Module, output: Tensor) -> None:
        """Hands an output on."""
        sink, fail = self._sink, self._fail
        if sink is None or fail is None:
            return
        start = perf_counter()
        try:
            sink(self.name, module, output)
        except Exception as error:  # noqa: BLE001  # nothing may reach the user's forward pass
            fail(f"activations of {self.name!r} could not be measured: {error}")
        self._meter.seconds += perf_counter() - start


def _device(module: nn.Module) -> torch.device:
    """Where a module most likely computes: a graph must not mix devices because of a hook."""
    tensor = next(module.parameters(), None)
    return torch.device("cpu") if tensor is None or tensor.is_meta else tensor.device


def _observe(output: Tensor, _anchor: Tensor, tap: int) -> None:
    known = _taps.get(tap)
    if known is not None:
        known.observed(output)


def _observe_nothing(_output: Tensor, _anchor: Tensor, _tap: int) -> None:
    """What the operator does while a graph is traced."""


_OPERATORS.impl("observe", _observe, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]  # torch has no types here
torch.library.register_fake("backslide::observe", _observe_nothing, lib=_OPERATORS)


def _run_as_written() -> None:
    """Keeps torch.compile from taking the hook, called on its own, for a function to compile.

    It does where a compiled module's own output is hooked: that hook runs beside the graph.
    Nothing public says so of a function that may still be part of larger graphs.
    """
    try:
        from torch._C._dynamo import eval_frame  # noqa: PLC0415  # not in every version
    except ImportError:
        return
    skip = eval_frame._FrameAction.SKIP  # noqa: SLF001  # there is no public name
    plainly = eval_frame._FrameExecStrategy(skip, skip)  # noqa: SLF001  # the same
    eval_frame.set_code_exec_strategy(Tap.__call__.__code__, plainly)


_run_as_written()
