"""Running somebody's model once more such that nobody can tell afterwards."""

import operator
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from backslide.measure.instruments.names import sharded

BUFFERS: Final = 2**22
"""Elements of buffers that may be copied, to be put back."""

_OWN: Final = ("backslide.", "torch.")
"""Modules whose hooks may run once more: ours, and torch's for normed or pruned weights."""


def fit(model: nn.Module) -> bool:
    """Whether a model may be run once more: nothing outside of it would notice."""
    return (
        not (torch.distributed.is_available() and torch.distributed.is_initialized())
        and not torch.nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]  # noqa: SLF001  # there is no public way
        and not any(map(_foreign, model.modules()))
        and not sharded(model)
        and sum(buffer.numel() for buffer in model.buffers()) <= BUFFERS
    )


def _foreign(module: nn.Module) -> bool:
    """Does running this module do more than compute?"""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    if getattr(module, "max_norm", None) is not None:
        return True  # an embedding that changes its weights when it runs
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())  # noqa: SLF001  # there is no public way
    return any(not _module_of(hook).startswith(_OWN) for hook in hooks)


def _module_of(hook: object) -> str:
    return str(getattr(hook, "__module__", None) or type(hook).__module__)


class Evaluated(NamedTuple):
    """A model's output, and whether random numbers went into it."""

    output: object
    random: bool


def evaluate(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    autocast: torch.dtype | None,
    device: torch.device,
    *,
    anew: bool = False,
) -> Evaluated:
    """The model's output in evaluation mode; everything else is put back as it was.

    Args:
        model: `fit` for it.
        args: arguments of the call.
        kwargs: named arguments of the call.
        autocast: precision that the training step ran in; None for that of the tensors.
        device: of the inputs.
        anew: with other random numbers than a call without it.
    """
    precision = (
        nullcontext() if autocast is None else torch.autocast(device.type, dtype=autocast)
    )
    with evaluation(model, (device,)), torch.no_grad(), precision:
        if anew:
            torch.rand((), device=device)
        before = _generator(device)
        output = model(*args, **kwargs)
        return Evaluated(output, not torch.equal(before, _generator(device)))


def _generator(device: torch.device) -> Tensor:
    """State of the generator that random numbers of a device come from, on the host."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


@contextmanager
def evaluation(model: nn.Module, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """The model in evaluation mode; afterwards everything is as it was before.

    Modes and attributes of modules, what their lists and dictionaries hold, buffers, weights
    that a forward pass rescales, and the random generators of torch, numpy and Python.

    Args:
        model: which no other thread runs meanwhile.
        devices: that it runs on.
    """
    cuda = [device for device in devices if device.type == "cuda"]
    with torch.random.fork_rng(cuda), _other_generators(), _state(model):
        for module in model.modules():
            module.training = False  # not eval(): it may be somebody's own
        yield


@contextmanager
def _other_generators() -> Iterator[None]:
    python = random.getstate()
    legacy: Any = np.random.get_state()  # noqa: NPY002  # the global one is what users seed
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002  # the same


@contextmanager
def _state(model: nn.Module) -> Iterator[None]:
    """Puts back attributes, what containers among them hold, and buffers."""
    restore: list[Callable[[], None]] = []
    for module in model.modules():
        attributes = vars(module)
        restore += [_put_back(value) for value in attributes.values() if _holds(value)]
        restore.append(_put_back(attributes))
    tensors = [*model.buffers(), *_rescaled(model)]
    olds = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for put_back in restore:
            put_back()
        for tensor, old in zip(tensors, olds, strict=True):
            _write(tensor, old)


def _rescaled(model: nn.Module) -> Iterator[Tensor]:
    """Weights of embeddings that a forward pass rescales where they are too long."""
    for module in model.modules():
        if getattr(module, "max_norm", None) is not None:
            yield from module.parameters(recurse=False)


def _holds(value: object) -> bool:
    return isinstance(value, (dict, list, set, deque))


def _put_back(container: Any) -> Callable[[], None]:  # noqa: ANN401  # any mutable container
    """Remembers what a container holds; calling the answer makes it so again."""
    if isinstance(container, (list, deque)):
        items = list(container)

        def put_back() -> None:
            if len(container) != len(items) or any(map(operator.is_not, container, items)):
                container.clear()
                container.extend(items)

    elif isinstance(container, set):
        members = set(container)

        def put_back() -> None:
            container.intersection_update(members)
            container.update(members)

    else:
        pairs = dict(container)

        def put_back() -> None:
            for key in [key for key in container if key not in pairs]:
                del container[key]
            for key, value in pairs.items():
                if container.get(key, pairs) is not value:
                    container[key] = value

    return put_back


def _write(tensor: Tensor, old: Tensor) -> None:
    """Puts a tensor's numbers back.

    Through `data`, because a backward pass still to come may hold this tensor and would see a
    change, although there is none.
    """
    tensor.data.copy_(old)
