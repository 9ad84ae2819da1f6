"""Names of modules and parameters as their author wrote them."""

import re
from typing import Final

from torch import nn

WRAPPERS: Final = re.compile(
    r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(\.|$)"
)
"""What torch.compile, activation checkpointing and sharding put into a name."""


def plain(name: str) -> str:
    """A qualified name without the marks of wrappers, so that runs with and without compare."""
    return WRAPPERS.sub("", name).rstrip(".")


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside torch.compile's or data-parallel wrappers."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def sharded(model: nn.Module) -> bool:
    """Whether running the model needs all processes: FSDP, or tensor parallelism."""
    if any(type(each).__name__ == "FullyShardedDataParallel" for each in model.modules()):
        return True
    return any(hasattr(each, "to_local") for each in model.parameters())
