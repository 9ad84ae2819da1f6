"""Modules with weights that never ran: experts nobody asked, heads nobody wired up."""

from collections.abc import Set as AbstractSet

import torch
from torch import nn

from backslide.measure.graph.tracer import Node
from backslide.measure.instruments.names import modules


def ghosts(model: nn.Module, ran: AbstractSet[str], used: AbstractSet[int]) -> list[Node]:
    """The topmost modules of which nothing ran, none of whose weights was used elsewhere.

    Args:
        model: that ran.
        ran: names of the modules that were called.
        used: identities of parameters that some function was given.
    """
    found: list[Node] = []
    for name, module, _ in modules(model):
        above = found[-1].name + "." if found else None
        if module is model or (above is not None and name.startswith(above)):
            continue
        parameters = list(module.parameters())
        if not parameters or name in ran or any(id(each) in used for each in parameters):
            continue
        if any(each.startswith(name + ".") for each in ran) or _unseen(module):
            continue
        number = sum(each.numel() for each in parameters)
        found.append(Node(name, name, type(module).__name__, "ghost", number, ()))
    return found


def _unseen(module: nn.Module) -> bool:
    """Whether parts of it take no hooks, so that they may have run."""
    return any(isinstance(each, torch.jit.ScriptModule) for each in module.modules())
