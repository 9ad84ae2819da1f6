"""Results of a step on their way from the devices to the host: one copy each, no waiting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from backslide.measure.entries import Entry, Frame, frame
from backslide.measure.rows import KEYS, SHIFT, Pieces, Rows, merge, pieces
from backslide.measure.samples import Samples
from backslide.measure.spare import Spare


@dataclass(frozen=True)
class Scaled:
    """What is done to gradients beside the tensors' own numbers; scalars on a device.

    Attributes:
        scale: the gradients are this many times too large, and a fused optimizer under mixed
            precision will divide by it inside its step.
        found_inf: above zero when that step will be skipped.
        clipped: what clipping left of them, as a factor.
    """

    scale: Tensor | None
    found_inf: Tensor | None
    clipped: Tensor | None = None

    def unscaled(self) -> "Scaled":
        """The same step for tensors that are not scaled."""
        return Scaled(None, self.found_inf)


@dataclass(eq=False)
class Queue:
    """Results still on one device, one item an entry unless said otherwise.

    Attributes:
        entries: what the host knows about each.
        sums: sum and sum of squares of each whose sample is not the whole.
        ranges: smallest and largest element of each of these without units that tell.
        largest: largest elements of units.
        smallest: smallest elements of units, of entries that have both.
        samples: copies on a device, of several entries each.
        host: the same on the host; None elsewhere.
        lasting: samples that were not copied yet.
        contexts: what was done to gradients, each once.
        context: position in `contexts`, or -1.
    """

    entries: list[Entry] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    ranges: list[Tensor] = field(default_factory=list)
    largest: list[Tensor] = field(default_factory=list)
    smallest: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    host: Samples | None = None
    lasting: list[Tensor] = field(default_factory=list)
    contexts: list[Scaled] = field(default_factory=list)
    context: list[int] = field(default_factory=list)

    def put(
        self,
        entry: Entry,
        sample: Tensor,
        units: tuple[Tensor, ...],
        scaled: Scaled | None,
        *,
        lasting: bool,
    ) -> None:
        """Queues one tensor's sample and units; `lasting`: the sample is copied in `settle`."""
        self.entries.append(entry)
        if units:
            self.largest.append(units[0])
            self.smallest += units[1:]
        if lasting:
            self.lasting.append(sample)
        else:
            if self.lasting:
                self.settle()
            self._copy([sample])
        if scaled is None:
            self.context.append(-1)
            return
        if not self.contexts or self.contexts[-1] is not scaled:
            self.contexts.append(scaled)
        self.context.append(len(self.contexts) - 1)

    def settle(self) -> None:
        """Copies the samples that were not copied yet."""
        if self.lasting:
            self._copy(self.lasting)
            self.lasting.clear()

    def _copy(self, tensors: list[Tensor]) -> None:
        """Copies flat samples."""
        if self.host is not None:
            self.host.add(tensors)
        else:
            self.samples.append(torch.cat(tensors).float())


@dataclass(frozen=True, eq=False)
class Parcel:
    """Results of one device, on the host or on their way to it.

    Attributes:
        mould: what the host knows about each tensor.
        context: position of what was done to each tensor, or -1.
        parts: sums, ranges, scales, skips and clips, largest and smallest elements of units,
            occurrences of exponents and samples.
        copied: happens when the copy is complete; None when it is.
        borrowed: memory among `parts` that goes back when they have been read.
    """

    mould: Frame
    context: list[int]
    parts: Sequence[Tensor]
    copied: torch.cuda.Event | None = None
    borrowed: tuple[Tensor, ...] = ()

    @classmethod
    def send(cls, queue: Queue, spare: Spare) -> Self:
        """Packs what a device holds into one buffer and starts its copy."""
        queue.settle()
        mould = frame(tuple(queue.entries))
        borrowed: tuple[Tensor, ...] = ()
        if queue.host is not None:
            samples, memory = queue.host.take()
            borrowed = (memory,)
            exponents = _counted(samples, mould, spare)
        else:
            samples = torch.cat(queue.samples)
            exponents = _added_up(samples, mould)
        device = samples.device
        scalars = (queue.sums, queue.ranges, _context_scalars(queue, device))
        none = samples.new_empty(0)
        parts = (
            *(torch.stack(each).float() if each else none for each in scalars),
            *(torch.cat(each) if each else none for each in (queue.largest, queue.smallest)),
            exponents,
            samples,
        )
        if device.type == "cpu":
            return cls(mould, queue.context, parts, borrowed=borrowed)
        buffer = torch.cat([*parts[:-2], exponents.view(torch.float32), samples])
        sizes = [part.numel() for part in parts]
        if device.type != "cuda":  # no events to ask elsewhere: wait for the copy
            return cls(mould, queue.context, _unpacked(buffer.cpu(), sizes))
        host = torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=True)
        with torch.cuda.device(device):
            host.copy_(buffer, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
            copied.record()
        return cls(mould, queue.context, _unpacked(host, sizes), copied)

    def ready(self) -> bool:
        """Whether the copy is complete; never waits."""
        return self.copied is None or bool(self.copied.query())  # type: ignore[no-untyped-call]  # torch has no types here

    def pieces(self) -> Pieces:
        """What arrived, without tensors of a skipped optimizer step; waits for it."""
        if self.copied is not None:
            self.copied.synchronize()
        sums, ranges, states, largest, smallest, exponents, samples = (
            part.numpy() for part in self.parts
        )
        everything = pieces(
            self.mould,
            sums=sums,
            ranges=ranges,
            largest=largest,
            smallest=smallest,
            exponents=exponents,
            samples=samples,
        )
        if not states.size:
            return everything
        return everything.unscaled(states.astype(np.float64).reshape(-1, 3), self.context)


class Transfer:
    """Results of one step, from all devices."""

    def __init__(self, parcels: Sequence[Parcel], spare: Spare) -> None:
        """Takes one parcel a device, and where memory of the host's goes afterwards."""
        self._parcels = parcels
        self._spare = spare

    def ready(self) -> bool:
        """Whether everything has arrived; never waits."""
        return all(parcel.ready() for parcel in self._parcels)

    def rows(self) -> Rows:
        """The rows, once; waits for them when they are not `ready`."""
        rows = merge([parcel.pieces() for parcel in self._parcels])
        for parcel in self._parcels:
            self._spare.give(*parcel.borrowed)
        return rows


def _unpacked(buffer: Tensor, sizes: list[int]) -> list[Tensor]:
    """The parts of a parcel in its buffer."""
    *floats, exponents, samples = torch.split(buffer, sizes)
    return [*floats, exponents.view(torch.int32), samples]


def _context_scalars(queue: Queue, device: torch.device) -> list[Tensor]:
    """Scale, skip flag and clipping factor of each context, as scalars."""
    scalars = []
    for context in queue.contexts:
        for value, default in (
            (context.scale, 1.0),
            (context.found_inf, 0.0),
            (context.clipped, 1.0),
        ):
            if value is None:
                scalars.append(torch.full((), default, device=device))
            else:
                scalars.append(value.detach().to(device, torch.float32).reshape(()))
    return scalars


def _counted(samples: Tensor, mould: Frame, spare: Spare) -> Tensor:
    """Occurrences of each sign and exponent by row: integers, shape (rows * KEYS,)."""
    scaled = torch.mul(samples, 2.0**SHIFT, out=spare.take(len(samples)))
    keys = scaled.view(torch.int32)
    keys >>= 23
    keys += _starts(mould)
    occurrences = torch.bincount(keys, minlength=len(mould.entries) * KEYS)
    spare.give(scaled)
    return occurrences


def _added_up(samples: Tensor, mould: Frame) -> Tensor:
    """The same on a device; `bincount` would wait for it, to learn its size."""
    keys = (samples * 2.0**SHIFT).view(torch.int32)
    keys >>= 23
    keys += _starts(mould).to(samples.device, non_blocking=True)
    size = len(mould.entries) * KEYS
    empty = torch.zeros(size, dtype=torch.int32, device=samples.device)
    return empty.index_add_(0, keys, torch.ones_like(keys))


@lru_cache(maxsize=4)
def _starts(mould: Frame) -> Tensor:
    """Where a row's occurrences of exponent 0 are counted, by element; int32.

    The shift that reads an exponent carries the sign along: negative numbers lie at -256 to -1.
    """
    starts = np.arange(KEYS // 2, len(mould.entries) * KEYS, KEYS).astype(np.int32)
    return torch.from_numpy(np.repeat(starts, mould.sampled))
