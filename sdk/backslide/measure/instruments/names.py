"""Names of modules and parameters as their author wrote them."""

import re
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

WHOLE: Final = (nn.MultiheadAttention,)
"""Modules that do their children's work themselves, so that the children's hooks never fire."""

WRAPPERS: Final = re.compile(
    r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(\.|$)"
)
"""What torch.compile, activation checkpointing and sharding put into a name."""


def plain(name: str) -> str:
    """A qualified name without the marks of wrappers, so that runs with and without compare."""
    return WRAPPERS.sub("", name).rstrip(".")


def modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Names and modules that take hooks, and whether nothing inside them is worth a look.

    In order of definition. What computes a module's weights is part of that module.
    """
    within: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in within or isinstance(module, torch.jit.ScriptModule):
            continue
        whole = isinstance(module, WHOLE) or is_parametrized(module)
        if whole:
            within.update(id(child) for child in module.modules())
        leaf = whole or next(module.children(), None) is None
        yield plain(name) or type(module).__name__, module, leaf


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside torch.compile's or data-parallel wrappers."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def compiled(model: nn.Module) -> bool:
    """Whether torch.compile holds the model or a part."""
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def sharded(model: nn.Module) -> bool:
    """Whether running the model needs all processes: FSDP, or tensor parallelism."""
    if any(type(each).__name__ == "FullyShardedDataParallel" for each in model.modules()):
        return True
    return any(hasattr(each, "to_local") for each in model.parameters())
