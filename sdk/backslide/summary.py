"""One tensor in, one summary row out: fused reductions on the tensor's own device.

`Summary` queues reductions while the training step runs and never waits for a device.
`Summary.finish` packs the results into one buffer a device and starts one copy to the host;
`Transfer.ready` says without blocking whether it has arrived. What then remains is arithmetic on
a few numbers a tensor, done in float64 by numpy.

Prices on one CPU core, float32, in ns an element: sum 0.07, dot 0.1, aminmax 0.2, amax or amin
over dimensions 0.08-0.12; against count_nonzero 0.7-5, a norm by channel 1.5-3, var_mean 5,
quantile 90. So moments come from sum and dot, extremes from amax and amin, and zero units from
the extremes. Zero and non-finite fractions and the histogram come from a strided sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backslide.contract import (
    EXPONENT_MAX,
    EXPONENT_MIN,
    HISTOGRAM_BINS,
    MAGNITUDE_BINS,
    ZERO_BIN,
)

Floats = NDArray[np.float64]

SAMPLE: Final = 4096
"""Elements behind a histogram. A fraction read from it has a standard error below 0.8 points."""

SATURATED_SHARE: Final = 0.95
"""A unit counts as saturated on a batch when this share of its outputs is at a bound."""

KEYS: Final = 512
"""Sign and exponent of a float32: nine bits."""

SHIFT: Final = 64
"""Samples are scaled by 2**SHIFT before their exponents are read: subnormal numbers become
normal ones and only zeros keep exponent 0."""

BIAS: Final = 127 + SHIFT


@dataclass(frozen=True)
class Units:
    """How a tensor divides into units, and what makes one count as active on a batch.

    Attributes:
        axis: the dimension that counts units.
        bounds: bounds of a saturating activation: a unit is active unless it stays within 1 % of
            the range of them. None: a unit is active unless all its elements are zero.
        nonnegative: no element is below zero, which saves a pass.
    """

    axis: int
    bounds: tuple[float, float] | None = None
    nonnegative: bool = False


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


@dataclass(frozen=True)
class Entry:
    """What is known on the host about one queued tensor.

    Attributes:
        key: the caller's name for the row that it adds to.
        count: elements it stands for.
        reduced: elements the moments were taken over (fewer than `count` for a sample).
        sampled: elements of the histogram.
        units: number of units, 0 when they are not told apart.
        bounded: whether inactive means saturated instead of dead.
        context: position of its `Scaled`, or -1.
    """

    key: int
    count: int
    reduced: int
    sampled: int
    units: int
    bounded: bool
    context: int


@dataclass
class _Queue:
    """Results still on one device, in the order of `entries`."""

    entries: list[Entry] = field(default_factory=list)
    scalars: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    active: list[Tensor] = field(default_factory=list)
    contexts: list[Scaled] = field(default_factory=list)


class Summary:
    """Reductions of one training step, queued on the devices of the tensors.

    Args:
        turn: number of this snapshot; moves the sample, so that successive ones differ.
    """

    def __init__(self, turn: int = 0) -> None:
        """Starts empty."""
        self._turn = turn
        self._queues: dict[torch.device, _Queue] = {}

    def add(
        self,
        key: int,
        tensor: Tensor,
        *,
        units: Units | None = None,
        scaled: Scaled | None = None,
        stands_for: int | None = None,
        sample: int = SAMPLE,
    ) -> None:
        """Queues the reductions of a tensor; holds no reference to it afterwards.

        Tensors queued under one key add up to one row. Nothing happens for tensors that are
        empty, not of a floating type, or that hold no data (`meta`, `fake`).

        Args:
            key: name of the row.
            tensor: any shape; must not require grad.
            units: tells units apart; None does not.
            scaled: mixed-precision state of a fused optimizer.
            stands_for: elements of the whole, where `tensor` is a sample of it.
            sample: elements of the histogram at most.
        """
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
            units = None
        if not tensor.is_floating_point() or not tensor.numel() or tensor.is_meta:
            return
        if tensor.element_size() == 1:
            tensor = tensor.float()  # no reductions exist for 8-bit floats
        flat = flatten(tensor)
        queue = self._queues.setdefault(flat.device, _Queue())
        low, high, active = extremes(tensor, flat, units)
        total = flat.sum(dtype=torch.float32)
        if flat.dtype == torch.float32:
            squares = torch.dot(flat, flat)
        else:
            squares = torch.linalg.vector_norm(flat, dtype=torch.float32).square()
            low, high = low.float(), high.float()
        taken = strided(flat, self._turn, sample)
        queue.scalars += (total, squares, low, high)
        context = -1
        if scaled is not None:
            if not queue.contexts or queue.contexts[-1] is not scaled:
                queue.contexts.append(scaled)
            context = len(queue.contexts) - 1
            if scaled.scale is not None:
                taken = taken / scaled.scale.to(taken.device)
        # A copy, because the tensor may change before the step is over.
        queue.samples.append(taken.to(torch.float32, copy=True))
        if active is not None:
            queue.active.append(active)
        queue.entries.append(
            Entry(
                key,
                flat.numel() if stands_for is None else stands_for,
                flat.numel(),
                taken.numel(),
                0 if active is None else active.numel(),
                units is not None and units.bounds is not None,
                context,
            )
        )

    def finish(self) -> "Transfer":
        """Starts the copies to the host, one a device, and forgets what was queued."""
        queues, self._queues = self._queues, {}
        return Transfer([_Parcel.send(queue) for queue in queues.values() if queue.entries])


def flatten(tensor: Tensor) -> Tensor:
    """A tensor's elements in one dimension, in the order of memory, copied only if need be."""
    if tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.as_strided((tensor.numel(),), (1,))
    return tensor.reshape(-1)


def strided(flat: Tensor, turn: int, size: int = SAMPLE) -> Tensor:
    """Every so many elements of a flat tensor, as a view of at most `size`.

    The stride has no factor in common with the number of elements, so that it cannot march in
    step with channels or rows; the start moves with `turn` instead of by chance, because the
    state of random generators belongs to the training.
    """
    count = flat.numel()
    if count <= size:
        return flat
    stride = -(-count // size)
    while math.gcd(stride, count) != 1:
        stride += 1
    return flat[(turn * 7919) % stride :: stride]


def extremes(
    tensor: Tensor, flat: Tensor, units: Units | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Smallest and largest element, and by unit whether it is active (float32, 0 or 1)."""
    if units is None or tensor.ndim < 2 or units.bounds is not None:
        low, high = torch.aminmax(flat)
        if units is None:
            return low, high, None
        return low, high, _unsaturated(tensor, units)
    axis = units.axis % tensor.ndim
    others = tuple(dim for dim in range(tensor.ndim) if dim != axis)
    largest = tensor.amax(others)
    if units.nonnegative:
        # A NaN is no zero: comparing with "not equal" keeps it active.
        return largest.amin(), largest.amax(), (largest != 0).float()
    smallest = tensor.amin(others)
    return smallest.amin(), largest.amax(), ((largest != 0) | (smallest != 0)).float()


def _unsaturated(tensor: Tensor, units: Units) -> Tensor | None:
    if units.bounds is None:  # one-dimensional: each element is a unit
        return (tensor != 0).float()
    low, high = units.bounds
    margin = 0.01 * (high - low)
    others = [dim for dim in range(tensor.ndim) if dim != units.axis % tensor.ndim]
    at_bound = ((tensor <= low + margin) | (tensor >= high - margin)).float()
    return ((at_bound.mean(others) if others else at_bound) < SATURATED_SHARE).float()


@dataclass(frozen=True, eq=False)
class _Parcel:
    """Results of one device on their way to the host: four parts of one float32 buffer."""

    entries: list[Entry]
    contexts: list[Scaled]
    parts: Sequence[Tensor]
    copied: torch.cuda.Event | None = None

    @classmethod
    def send(cls, queue: _Queue) -> "_Parcel":
        samples = torch.cat(queue.samples)
        device = samples.device
        scalars = torch.stack(queue.scalars + _context_scalars(queue, device))
        active = torch.cat(queue.active) if queue.active else samples.new_empty(0)
        keys = _exponents(samples, [entry.sampled for entry in queue.entries])
        parts = (scalars, active, keys.view(torch.float32), samples)
        if device.type == "cpu":
            return cls(queue.entries, queue.contexts, parts)
        sizes = [part.numel() for part in parts]
        buffer = torch.cat(parts)
        if device.type != "cuda":  # no events to ask elsewhere: wait for the copy
            return cls(queue.entries, queue.contexts, buffer.cpu().split(sizes))
        host = torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=True)
        with torch.cuda.device(device):
            host.copy_(buffer, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        return cls(queue.entries, queue.contexts, host.split(sizes), copied)


def _context_scalars(queue: _Queue, device: torch.device) -> list[Tensor]:
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
    starts = torch.arange(0, len(lengths) * KEYS, KEYS, dtype=torch.int32)
    rows = torch.repeat_interleave(starts, torch.tensor(lengths))
    if samples.device.type == "cpu":
        keys += rows
        return torch.bincount(keys, minlength=len(lengths) * KEYS).int()
    # bincount waits for the device to learn its size; adding up at known places does not.
    keys += rows.to(samples.device, non_blocking=True)
    empty = torch.zeros(len(lengths) * KEYS, dtype=torch.int32, device=samples.device)
    return empty.index_add_(0, keys, torch.ones_like(keys))


@dataclass(frozen=True, eq=False)
class Rows:
    """Summaries of the tensors of one step, as columns of length n.

    Attributes:
        keys: names of the rows, ascending.
        count: elements.
        mean, std, rms, abs_max, zero_fraction, nonfinite_fraction: as in the layers table, in
            float64.
        square_sum: sum of squares; not finite when an element is not.
        histogram: int32, shape (n, HISTOGRAM_BINS).
        active: where units can be dead: by key and unit, whether it was active in this step.
        unsaturated: the same where units can saturate.
    """

    keys: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: Floats
    std: Floats
    rms: Floats
    abs_max: Floats
    zero_fraction: Floats
    nonfinite_fraction: Floats
    square_sum: Floats
    histogram: NDArray[np.int32]
    active: dict[int, NDArray[np.bool_]]
    unsaturated: dict[int, NDArray[np.bool_]]


class Transfer:
    """Results of one step on their way to the host."""

    def __init__(self, parcels: list[_Parcel]) -> None:
        """Takes what `Summary.finish` sent."""
        self._parcels = parcels

    def ready(self) -> bool:
        """Whether everything has arrived; never waits."""
        return all(parcel.copied is None or parcel.copied.query() for parcel in self._parcels)

    def rows(self) -> Rows:
        """The rows; waits for them when they are not `ready`.

        Tensors of a skipped optimizer step are left out. Several tensors under one key (the calls of a module within one step) add up, each with
        the weight of its elements.
        """
        for parcel in self._parcels:
            if parcel.copied is not None:
                parcel.copied.synchronize()
        pieces = [_pieces(parcel) for parcel in self._parcels] or [_NOTHING]
        entries = [entry for piece in pieces for entry in piece.entries]
        keys, row = np.unique([entry.key for entry in entries], return_inverse=True)
        values = np.concatenate([piece.values for piece in pieces])
        count = np.bincount(row, [entry.count for entry in entries], len(keys))
        total = np.bincount(row, values[:, 0], len(keys))
        square_sum = np.bincount(row, values[:, 1], len(keys))
        abs_max = np.zeros(len(keys))
        np.maximum.at(abs_max, row, np.abs(values[:, 2:]).max(1))  # a NaN stays one
        histogram = np.zeros((len(keys), HISTOGRAM_BINS), np.int32)
        np.add.at(histogram, row, np.concatenate([piece.histogram for piece in pieces]))
        sampled = np.maximum(histogram.sum(1), 1)
        mean = total / count
        mean_square = square_sum / count
        with np.errstate(invalid="ignore"):  # infinities are dealt with below
            variance = mean_square - mean**2
            std, rms = np.sqrt(np.maximum(variance, 0.0)), np.sqrt(mean_square)
        flags = [units for piece in pieces for units in piece.active]
        rows = Rows(
            keys.astype(np.int64),
            count.astype(np.int64),
            mean,
            std,
            rms,
            abs_max,
            histogram[:, ZERO_BIN] / sampled,
            np.zeros(len(keys)),
            square_sum,
            histogram,
            _active(entries, flags, bounded=False),
            _active(entries, flags, bounded=True),
        )
        samples = [sample for piece in pieces for sample in piece.samples]
        with np.errstate(invalid="ignore"):
            trusted = (variance >= 1e-3 * mean_square) & (mean_square >= 1e-30)
            trusted |= abs_max == 0
        trusted &= np.isfinite(variance) & np.isfinite(abs_max)
        for index in np.flatnonzero(~trusted):
            _read_sample(rows, index, [samples[call] for call in np.flatnonzero(row == index)])
        return rows


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Results of one device on the host, one item an entry."""

    entries: list[Entry]
    values: Floats
    histogram: NDArray[np.int32]
    samples: list[NDArray[np.float32]]
    active: list[NDArray[np.bool_]]


_NOTHING: Final = _Pieces([], np.empty((0, 4)), np.empty((0, HISTOGRAM_BINS), np.int32), [], [])


def _pieces(parcel: _Parcel) -> _Pieces:
    """Unpacks a parcel: sum, sum of squares, smallest and largest element, and the rest."""
    scalars, active, keys, samples = (part.numpy() for part in parcel.parts)
    entries = parcel.entries
    values = scalars[: 4 * len(entries)].astype(np.float64).reshape(-1, 4)
    histogram = fold(keys.view(np.int32).reshape(-1, KEYS))
    share = [entry.count / entry.reduced for entry in entries]
    values[:, :2] *= np.array(share)[:, None]
    each_sample = np.split(samples, np.cumsum([entry.sampled for entry in entries])[:-1])
    each_active = np.split(active > 0, np.cumsum([entry.units for entry in entries])[:-1])
    if not parcel.contexts:
        return _Pieces(entries, values, histogram, each_sample, each_active)
    contexts = scalars[4 * len(entries) :].astype(np.float64).reshape(-1, 2)
    contexts = np.vstack([contexts, [1.0, 0.0]])  # position -1: unscaled, not skipped
    scale, skipped = contexts[[entry.context for entry in entries]].T
    values /= np.stack([scale, scale**2, scale, scale], 1)
    kept = np.flatnonzero(skipped == 0)
    return _Pieces(
        [entries[index] for index in kept],
        values[kept],
        histogram[kept],
        [each_sample[index] for index in kept],
        [each_active[index] for index in kept],
    )


def fold(keys: NDArray[np.int32]) -> NDArray[np.int32]:
    """Occurrences by sign and exponent, shape (n, KEYS), in the bins of the contract."""
    first, last = EXPONENT_MIN + BIAS, EXPONENT_MAX + BIAS
    bins = np.zeros((len(keys), HISTOGRAM_BINS), np.int32)
    bins[:, ZERO_BIN] = keys[:, 0] + keys[:, KEYS // 2]
    positive, negative = bins[:, ZERO_BIN + 1 :], bins[:, ZERO_BIN - 1 :: -1]
    for side, half in (positive, keys[:, : KEYS // 2]), (negative, keys[:, KEYS // 2 :]):
        side[:, 0] = half[:, 1 : first + 1].sum(1)
        side[:, 1:-1] = half[:, first + 1 : last]
        side[:, -1] = half[:, last:].sum(1)
    return bins


def _active(
    entries: list[Entry], flags: list[NDArray[np.bool_]], *, bounded: bool
) -> dict[int, NDArray[np.bool_]]:
    """By key, units that were active in any call; none where the calls differ in units."""
    active: dict[int, NDArray[np.bool_]] = {}
    for entry, calls in zip(entries, flags, strict=True):
        if entry.units and entry.bounded == bounded:
            known = active.get(entry.key, calls)
            active[entry.key] = known | calls if known.shape == calls.shape else calls[:0]
    return active


def _read_sample(rows: Rows, index: int, samples: list[NDArray[np.float32]]) -> None:
    """Corrects a row from its sample, in float64 over the finite elements.

    It is wanted where elements are not finite, where float32 sums of squares over- or underflowed,
    and where a large mean drowns the spread.
    """
    sample = np.concatenate(samples).astype(np.float64)
    fine = np.isfinite(sample)
    finite = sample[fine]
    rows.std[index] = finite.std() if finite.size else math.nan
    if math.isfinite(rows.abs_max[index]) and 1e-30 <= rows.rms[index] ** 2 < math.inf:
        return  # only the spread was in doubt
    rows.mean[index] = finite.mean() if finite.size else math.nan
    rows.rms[index] = math.sqrt(np.square(finite).mean()) if finite.size else math.nan
    if math.isfinite(rows.abs_max[index]):
        rows.square_sum[index] = rows.rms[index] ** 2 * rows.count[index]
        return
    rows.abs_max[index] = np.abs(finite).max() if finite.size else math.nan
    # At least one element is not finite, whether or not the sample met it.
    share = 1.0 - finite.size / sample.size
    rows.nonfinite_fraction[index] = max(share, 1.0 / rows.count[index])
    rows.zero_fraction[index] = np.count_nonzero(sample == 0) / sample.size
    rows.square_sum[index] = math.nan
    negative = int(np.signbit(sample[~fine]).sum())
    rows.histogram[index, 0] -= negative
    rows.histogram[index, -1] -= sample.size - finite.size - negative
