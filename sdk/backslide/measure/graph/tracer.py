"""Follows one forward pass: modules by hooks, what happens between them by a function mode.

Nothing has to be symbolic: what ran is what is seen, through data-dependent branches, loops,
containers, changes in place and code outside of torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from backslide.measure.batches.pieces import tensors
from backslide.measure.graph.operations import (
    DEFINED,
    DROPPING,
    FROM_NOTHING,
    LEAVING,
    MOST,
    operation,
    writes,
)
from backslide.measure.graph.producers import Producers
from backslide.measure.instruments.names import modules

CALLS: Final = 16
"""Calls of one module, or kinds of operation in it, that get a node each; later ones share
the last: a cell that runs a thousand times is drawn once too often as it is."""

NODES: Final = 5_000
"""Nodes after which no new ones are made."""

ROOT: Final = ""


@dataclass(frozen=True, eq=False)
class Node:
    """One thing that happened; see `contract.Artifact.GRAPH`."""

    id: str
    name: str
    kind: str
    type: str
    parameters: int
    output: tuple[int, ...]


@dataclass(eq=False)
class Tracer:
    """Collects nodes and edges while a model runs.

    Attributes:
        nodes: by id, in the order of their first calls.
        edges: from, to; each once.
        calls: how often each module ran, by name.
        used: identities of the parameters that any function was given.
        own: identities of the model's parameters and buffers.
        dropping: places of the dropouts that drop nearly everything when training, each once.
    """

    own: frozenset[int]
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    dropping: dict[str, None] = field(default_factory=dict)
    _producers: Producers = field(default_factory=Producers)
    _around: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _sources: list[list[str]] = field(default_factory=list)
    _leaves: int = 0
    _left: dict[str, None] = field(default_factory=dict)

    def entered(self, given: object) -> None:
        """The model as a whole was called: its tensors are where all begins."""
        for tensor in tensors(given):
            node = self._node(("input", "input"), "input", "Tensor", tuple(tensor.shape))
            self._producers.made([tensor], [node])

    def left(self, output: object) -> None:
        """The model as a whole is done."""
        found = list(_tensors(output))
        if found:
            node = self._node(("output", "output"), "output", "Tensor", tuple(found[0].shape))
            self._connect(self._from(found), node)

    def begins(self, name: str, given: object, *, leaf: bool) -> None:
        """A module is called."""
        self.calls[name] = self.calls.get(name, 0) + 1
        self._around.append(name)
        if leaf:
            if self._leaves == 0:
                self._sources.append(self._from(_tensors(given)))
            self._leaves += 1

    def ends(self, module: nn.Module, name: str, output: object, *, leaf: bool) -> None:
        """A module is done."""
        self._around.pop()
        if not leaf:
            return
        self._leaves -= 1
        if self._leaves:
            return
        found = list(_tensors(output))
        shape = tuple(found[0].shape) if found else ()
        parameters = [*module.parameters()]
        self.used.update(map(id, parameters))
        number = sum(tensor.numel() for tensor in parameters)
        node = self._node((name, name), "module", type(module).__name__, shape, number)
        self._connect(self._sources.pop(), node)
        self._producers.made(found, [node])

    def function(
        self, function: object, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: object
    ) -> None:
        """One of torch's functions ran."""
        given = list(_tensors((args, kwargs)))
        self.used.update(id(tensor) for tensor in given if isinstance(tensor, nn.Parameter))
        name = str(getattr(function, "__name__", ""))
        if DROPPING.fullmatch(name) and _dropped(args, kwargs) > MOST:
            self.dropping[(self._around[-1] if self._around else ROOT) or name] = None
        if self._leaves:
            return
        changed = writes(function)
        found = list(_tensors(args[:1] if changed and result is None else result))
        sources = self._from(given)
        if name in LEAVING:
            self._left.update(dict.fromkeys(sources))
        if FROM_NOTHING.fullmatch(name):
            sources = []
        kind = operation(function)
        if found and (len(sources) > 1 or (sources and DEFINED.fullmatch(kind))):
            around = self._around[-1] if self._around else ROOT
            key = (f"{around}.{kind}".lstrip("."), around)
            node = self._node(key, "operation", kind, tuple(found[0].shape))
            self._connect(sources, node)
            sources = [node]
        if changed:
            # Writing to part of a tensor changes the whole.
            found += [whole for part in found if (whole := part._base) is not None]  # noqa: SLF001  # what a view looks at; there is no public name
        self._producers.made(found, sources)

    def _from(self, given: Iterable[Tensor]) -> list[str]:
        """Nodes that tensors come from; of those that came from outside, what went there."""
        given = list(given)
        strange = not all(each in self._producers or id(each) in self.own for each in given)
        return list(
            dict.fromkeys([*self._producers.of(given), *(self._left if strange else ())])
        )

    def _node(
        self,
        key: tuple[str, str],
        type_: str,
        kind: str,
        output: tuple[int, ...],
        parameters: int = 0,
    ) -> str:
        """A node for one more call; its id."""
        label, name = key
        count = self._counts[label] = self._counts.get(label, 0) + 1
        if count > CALLS or len(self.nodes) >= NODES:
            return self._last(label)
        known = label if count == 1 else f"{label}#{count}"
        self._places[known] = len(self.nodes)
        self.nodes[known] = Node(known, name, kind, type_, parameters, output)
        return known

    def _last(self, label: str) -> str:
        numbers = range(min(self._counts[label], CALLS), 1, -1)
        names = (*(f"{label}#{number}" for number in numbers), label)
        return next((known for known in names if known in self.nodes), next(iter(self.nodes)))

    def _connect(self, sources: Iterable[str], node: str) -> None:
        """Edges forward in time: a shared node may be both before and after another."""
        for source in sources:
            if self._places[source] < self._places[node]:
                self.edges[source, node] = None


class _Mode(TorchFunctionMode):
    """Tells a tracer of all functions that are called outside of functions."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401  # torch's signature
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the function returns
        """Runs the function and notes it."""
        result = func(*args, **(kwargs or {}))
        self._tracer.function(func, args, kwargs or {}, result)
        return result


@contextmanager
def tracing(model: nn.Module) -> Iterator[Tracer]:
    """Follows the model's next call; hooks are gone afterwards."""
    tracer = Tracer(frozenset(map(id, (*model.parameters(), *model.buffers()))))
    handles = []
    try:
        for name, module, leaf in modules(model):
            known = ROOT if module is model and not leaf else name
            before, after = _hooks(tracer, known, leaf=leaf)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        with _Mode(tracer):
            yield tracer
    finally:
        for handle in handles:
            handle.remove()


Before = Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]
After = Callable[[nn.Module, tuple[object, ...], object], None]


def _hooks(tracer: Tracer, name: str, *, leaf: bool) -> tuple[Before, After]:
    def before(_: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        tracer.begins(name, (args, kwargs), leaf=leaf)

    def after(module: nn.Module, _: tuple[object, ...], output: object) -> None:
        tracer.ends(module, name, output, leaf=leaf)

    return before, after


def _dropped(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """The share that a dropout was asked to drop."""
    share = kwargs.get("p", args[1] if len(args) > 1 else 0.0)
    return float(share) if isinstance(share, int | float) else 0.0


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested containers, and in the attributes of records."""
    if isinstance(value, (Tensor, Mapping, tuple, list)):
        yield from tensors(value)
    elif isinstance(value, torch.nn.utils.rnn.PackedSequence):
        yield value.data
    elif hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type)):
        for item in vars(value).values():
            if isinstance(item, (Tensor, tuple, list)):
                yield from tensors(item)
