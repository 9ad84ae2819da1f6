"""Results of a step on their way from the devices to the host: one copy each, no waiting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backslide.measure.rows import KEYS, SHIFT, Entry, Pieces, Rows, fold, merge

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Scaled:
    """What a fused optimizer does to gradients inside its step under mixed precision.

    Attributes:
        scale: the gradients are this many times too large; a scalar on their device.
        found_inf: above zero when this step will be skipped; a scalar on their device.
    """

    scale: Tensor | None
    found_inf: Tensor | None

    def unscaled(self) -> "Scaled":
        """The same step for tensors that are not scaled."""
        return Scaled(None, self.found_inf)


@dataclass(eq=False)
class Queue:
    """Results still on one device, one item an entry unless said otherwise.

    Attributes:
        entries: what the host knows about each.
        scalars: sum, sum of squares, smallest and largest element of each.
        samples: float32 copies.
        active: of those entries that have units, whether each was active (0 or 1).
        contexts: mixed-precision states, each once.
        context: position in `contexts`, or -1.
    """

    entries: list[Entry] = field(default_factory=list)
    scalars: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    active: list[Tensor] = field(default_factory=list)
    contexts: list[Scaled] = field(default_factory=list)
    context: list[int] = field(default_factory=list)

    def put(
        self,
        entry: Entry,
        scalars: tuple[Tensor, Tensor, Tensor, Tensor],
        sample: Tensor,
        active: Tensor | None,
        scaled: Scaled | None,
    ) -> None:
        """Queues one tensor's results."""
        self.entries.append(entry)
        self.scalars += scalars
        self.samples.append(sample)
        if active is not None:
            self.active.append(active)
        if scaled is None:
            self.context.append(-1)
            return
        if not self.contexts or self.contexts[-1] is not scaled:
            self.contexts.append(scaled)
        self.context.append(len(self.contexts) - 1)


@dataclass(frozen=True, eq=False)
class Parcel:
    """Results of one device, on the host or on their way to it.

    Attributes:
        entries: what the host knows about each tensor.
        context: position of each tensor's mixed-precision state, or -1.
        parts: scalars, activity of units, occurrences of exponents (int32 seen as float32) and
            samples.
        copied: happens when the copy is complete; None when it is.
    """

    entries: list[Entry]
    context: list[int]
    parts: Sequence[Tensor]
    copied: torch.cuda.Event | None = None

    @classmethod
    def send(cls, queue: Queue) -> Self:
        """Packs what a device holds into one buffer and starts its copy."""
        samples = torch.cat(queue.samples)
        device = samples.device
        scalars = torch.stack(queue.scalars + _context_scalars(queue, device))
        active = torch.cat(queue.active) if queue.active else samples.new_empty(0)
        exponents = _exponents(samples, [entry.sampled for entry in queue.entries])
        parts = (scalars, active, exponents.view(torch.float32), samples)
        if device.type == "cpu":
            return cls(queue.entries, queue.context, parts)
        sizes = [part.numel() for part in parts]
        buffer = torch.cat(parts)
        if device.type != "cuda":  # no events to ask elsewhere: wait for the copy
            return cls(queue.entries, queue.context, torch.split(buffer.cpu(), sizes))
        host = torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=True)
        with torch.cuda.device(device):
            host.copy_(buffer, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
            copied.record()
        return cls(queue.entries, queue.context, torch.split(host, sizes), copied)

    def ready(self) -> bool:
        """Whether the copy is complete; never waits."""
        return self.copied is None or bool(self.copied.query())  # type: ignore[no-untyped-call]  # torch has no types here

    def pieces(self) -> Pieces:
        """What arrived, without tensors of a skipped optimizer step; waits for it."""
        if self.copied is not None:
            self.copied.synchronize()
        scalars, active, exponents, samples = (part.numpy() for part in self.parts)
        entries = self.entries
        values = scalars[: 4 * len(entries)].astype(np.float64).reshape(-1, 4)
        contexts = scalars[4 * len(entries) :].astype(np.float64).reshape(-1, 2)
        everything = Pieces(
            entries,
            values,
            fold(exponents.view(np.int32).reshape(-1, KEYS)),
            _cut(samples, [entry.sampled for entry in entries]),
            _cut(active > 0, [entry.units for entry in entries]),
        )
        return everything.unscaled(contexts, self.context) if len(contexts) else everything


class Transfer:
    """Results of one step, from all devices."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        """Takes one parcel a device."""
        self._parcels = parcels

    def ready(self) -> bool:
        """Whether everything has arrived; never waits."""
        return all(parcel.ready() for parcel in self._parcels)

    def rows(self) -> Rows:
        """The rows; waits for them when they are not `ready`."""
        return merge([parcel.pieces() for parcel in self._parcels])


def _cut(array: NDArray[Number], lengths: list[int]) -> list[NDArray[Number]]:
    """Successive views of an array (np.split, which this is, takes five times as long)."""
    ends = list(accumulate(lengths))
    return [array[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _context_scalars(queue: Queue, device: torch.device) -> list[Tensor]:
    """Scale and skip flag of each context, as scalars."""
    scalars = []
    for context in queue.contexts:
        for value, default in ((context.scale, 1.0), (context.found_inf, 0.0)):
            if value is None:
                scalars.append(torch.full((), default, device=device))
            else:
                scalars.append(value.detach().to(device, torch.float32).reshape(()))
    return scalars


def _exponents(samples: Tensor, lengths: list[int]) -> Tensor:
    """Occurrences of each sign and exponent by row: int32, shape (rows * KEYS,)."""
    keys = (samples * 2.0**SHIFT).view(torch.int32) >> 23
    keys &= KEYS - 1
    starts = np.arange(0, len(lengths) * KEYS, KEYS).astype(np.int32)
    rows = torch.from_numpy(np.repeat(starts, lengths))
    if samples.device.type == "cpu":
        keys += rows
        return torch.bincount(keys, minlength=len(lengths) * KEYS).int()
    # bincount waits for the device to learn its size; adding up at known places does not.
    keys += rows.to(samples.device, non_blocking=True)
    empty = torch.zeros(len(lengths) * KEYS, dtype=torch.int32, device=samples.device)
    return empty.index_add_(0, keys, torch.ones_like(keys))
