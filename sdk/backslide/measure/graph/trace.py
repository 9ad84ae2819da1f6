"""One forward pass of a model on a few examples -> its graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from backslide.measure.batches.guest import guest
from backslide.measure.graph.ghosts import ghosts
from backslide.measure.graph.tracer import ROOT, Node, tracing
from backslide.measure.instruments.names import plain
from backslide.measure.probe.examples import Examples
from backslide.record.calls import moved

EXAMPLES: Final = 2


@dataclass(frozen=True, eq=False)
class Traced:
    """What ran and what did not.

    Attributes:
        nodes: in the order of calls, and those that never ran.
        edges: ids, from and to.
        calls: how often each module ran, by name.
        dropping: places of the dropouts that drop nearly everything when training.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    calls: Mapping[str, int]
    dropping: tuple[str, ...]


def trace(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> Traced:
    """Runs the model once in evaluation mode, with everything put back as it was.

    Args:
        model: unwrapped, and not sharded.
        args: arguments of the call: one or two examples are enough.
        kwargs: named arguments of the call.
        device: the model's.
        autocast: precision of the call; None for that of the tensors.

    Raises:
        ValueError: nothing can be seen of the model.
    """
    precision = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    with guest(model, device), torch.no_grad(), precision, tracing(model) as tracer:
        tracer.entered((args, kwargs))
        tracer.left(model(*args, **kwargs))
    if not tracer.calls:
        raise ValueError("its modules take no hooks, as those of a ScriptModule")
    calls = {name: count for name, count in tracer.calls.items() if name != ROOT}
    nodes = (*tracer.nodes.values(), *ghosts(model, set(calls), tracer.used))
    return Traced(nodes, tuple(tracer.edges), calls, tuple(tracer.dropping))


def trace_on(model: nn.Module, inputs: object) -> Traced:
    """The same on the first of many examples.

    Args:
        model: unwrapped, and not sharded.
        inputs: a tensor, or a tuple or mapping of tensors, with one row an example.
    """
    examples = Examples.of(inputs, EXAMPLES)
    known = (*model.parameters(), *model.buffers())
    device = known[0].device if known else examples.device()
    few = moved(examples.part(0, EXAMPLES), device)
    args = () if isinstance(few, dict) else few if isinstance(few, tuple) else (few,)
    return trace(model, args, few if isinstance(few, dict) else {}, device=device)


def tree(model: nn.Module) -> tuple[Node, ...]:
    """The modules that have no others inside, unconnected, for what cannot be followed."""
    return tuple(
        Node(
            plain(name) or type(module).__name__,
            plain(name) or type(module).__name__,
            str(getattr(module, "original_name", type(module).__name__)),
            "module",
            sum(each.numel() for each in module.parameters()),
            (),
        )
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    )
