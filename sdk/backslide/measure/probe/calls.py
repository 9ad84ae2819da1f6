"""What calls what in one forward pass: every module's call, with what went in and came out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backslide.measure.batches.pieces import tensors
from backslide.measure.instruments.names import modules
from backslide.measure.instruments.tensors import first_floating, in_backward


class Version(NamedTuple):
    """A tensor and how often it had been changed in place: the same pair, the same numbers."""

    tensor: int
    changes: int


class Given(NamedTuple):
    """What went into a module."""

    tensor: int
    shape: torch.Size


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: qualified name of the module; its class name for the model as a whole.
        number: 1 for the module's first call.
        module: what was called.
        leaf: whether it calls no other modules, or does their work itself.
        start, end: places among the beginnings and ends of all calls.
        given: the first tensor that went in.
        output: the first tensor of floats that came out.
        version: of the output when it came out.
    """

    name: str
    number: int
    module: nn.Module
    leaf: bool
    start: int
    end: int = -1
    given: Given | None = None
    output: Tensor | None = None
    version: Version | None = None

    @property
    def key(self) -> str:
        """`name`, or `name#2` of a second call."""
        return self.name if self.number == 1 else f"{self.name}#{self.number}"

    def inside(self, other: "Call") -> bool:
        """Whether this call was made within another one."""
        return other.start < self.start and self.end < other.end


@dataclass(eq=False)
class Listener:
    """Hears all calls of a model's modules while `listening`.

    Attributes:
        calls: that are over, in the order of their ends.
    """

    calls: list[Call] = field(default_factory=list)
    _open: list[Call] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _clock: int = 0

    def begin(self, name: str, module: nn.Module, given: object, *, leaf: bool) -> None:
        """A module is about to run."""
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        first = next((tensor for tensor in tensors(given)), None)
        call = Call(name, number, module, leaf, self._tick())
        call.given = None if first is None else Given(id(first), first.shape)
        self._open.append(call)

    def end(self, output: object) -> None:
        """The module that began last is over."""
        call = self._open.pop()
        call.end = self._tick()
        call.output = first_floating(output)
        if call.output is not None:
            call.version = Version(id(call.output), call.output._version)  # noqa: SLF001  # counts changes in place
        self.calls.append(call)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


@contextmanager
def listening(model: nn.Module) -> Iterator[Listener]:
    """Hooks on all modules of a model; those of a ScriptModule take none."""
    listener = Listener()
    handles = []
    try:
        for name, module, leaf in modules(model):
            before, after = _hooks(listener, name, leaf=leaf)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after, always_call=False))
        yield listener
    finally:
        for handle in handles:
            handle.remove()


Before = Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]
After = Callable[[nn.Module, tuple[object, ...], object], None]


def _hooks(listener: Listener, name: str, *, leaf: bool) -> tuple[Before, After]:
    def before(
        module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        if not in_backward():
            listener.begin(name, module, (args, kwargs), leaf=leaf)

    def after(_module: nn.Module, _args: tuple[object, ...], output: object) -> None:
        if not in_backward():
            listener.end(output)

    return before, after
