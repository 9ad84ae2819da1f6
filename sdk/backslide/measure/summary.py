"""One tensor -> one summary row, reduced where the tensor lies.

Nothing here waits for a device. A tensor as small as a sample is only copied: its moments are
taken on the host, so that a hundred biases cost one copy together. A larger one is read by one
kernel each for sum, sum of squares and range; what histograms and zeros are read from is a
strided sample. `finish` starts one copy a device; `Transfer.rows` does the rest of the
arithmetic on the host, in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from backslide.measure.entries import Entry
from backslide.measure.samples import Samples
from backslide.measure.spare import Spare
from backslide.measure.timing import Timing
from backslide.measure.transfer import Parcel, Queue, Scaled, Transfer

SAMPLE: Final = 4096
"""Elements behind a histogram. A share read from it has a standard error below 0.8 points."""

SATURATED_SHARE: Final = 0.95
"""A unit counts as saturated on a batch when this share of its outputs is at a bound."""


@dataclass(frozen=True)
class Units:
    """How a tensor divides into units, and what makes one count as active on a batch.

    Attributes:
        axis: the dimension that counts units.
        bounds: bounds of a saturating activation: a unit is active unless it stays within 1 %
            of the range of them. None: a unit is active unless all its elements are zero.
        nonnegative: no element is below zero, which saves a pass.
    """

    axis: int
    bounds: tuple[float, float] | None = None
    nonnegative: bool = False


class Summary:
    """Reductions of one training step, queued on the devices of the tensors.

    Args:
        turn: number of this snapshot; moves the sample, so that successive ones differ.
        spare: memory to work in, where snapshots share some.

    Attributes:
        timing: what its work costs the devices.
    """

    def __init__(self, turn: int = 0, spare: Spare | None = None) -> None:
        """Starts empty."""
        self._turn = turn
        self._spare = spare or Spare()
        self.timing = Timing()
        self._queues: dict[torch.device, Queue] = {}

    def add(
        self,
        key: int,
        tensor: Tensor,
        *,
        units: Units | None = None,
        scaled: Scaled | None = None,
        stands_for: int | None = None,
        sample: int = SAMPLE,
        lasting: bool = False,
    ) -> None:
        """Queues the reductions of a tensor; holds no reference to it afterwards.

        Tensors queued under one key add up to one row. Nothing happens for tensors that are
        empty, not of a floating type, or hold no data (`meta`).

        Args:
            key: number of the row.
            tensor: any shape; must not require grad unless gradients are off.
            units: tells units apart; None does not.
            scaled: mixed-precision state of a fused optimizer.
            stands_for: elements of the whole, where `tensor` is a sample of it.
            sample: elements of the histogram at most.
            lasting: the tensor keeps its values until `settle`, which must be called: the
                samples of all such tensors are then copied at once.
        """
        if tensor.dtype != torch.float32:
            if tensor.is_complex():
                tensor, units = torch.view_as_real(tensor), None
            if not tensor.is_floating_point():
                return
            if tensor.element_size() == 1:
                tensor = tensor.float()  # there are no reductions of 8-bit floats
        count = tensor.numel()
        if not count or tensor.is_meta:
            return
        flat = taken = flatten(tensor)
        queue = self._queues.get(flat.device)
        if queue is None:
            host = Samples(self._spare) if flat.device.type == "cpu" else None
            queue = self._queues[flat.device] = Queue(host=host)
        vectors = () if units is None else extremes(tensor, units)
        bounded = units is not None and units.bounds is not None
        if count > sample:
            taken = strided(flat, self._turn, sample)
            queue.sums += sums(flat)
            if bounded or not vectors:
                queue.ranges += torch.aminmax(flat)
        if scaled is not None and scaled.scale is not None:
            taken = taken / scaled.scale.to(taken.device)
        entry = Entry(
            key,
            count if stands_for is None else stands_for,
            count,
            taken.numel(),
            vectors[0].numel() if vectors else 0,
            len(vectors) == 2,
            bounded,
        )
        queue.put(entry, taken, vectors, scaled, lasting=lasting)

    def settle(self) -> None:
        """Copies the samples of the tensors that were promised to last until now."""
        for queue in self._queues.values():
            queue.settle()

    def finish(self) -> Transfer:
        """Starts the copies to the host, one a device, and forgets what was queued."""
        queues, self._queues = self._queues, {}
        parcels = []
        for device, queue in queues.items():
            if queue.entries:
                with self.timing.on(device):
                    parcels.append(Parcel.send(queue, self._spare))
        return Transfer(parcels, self._spare)


def flatten(tensor: Tensor) -> Tensor:
    """A tensor's elements in one dimension, in the order of memory, copied only if need be."""
    if tensor.is_contiguous():
        return tensor if tensor.ndim == 1 else tensor.view(-1)
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != step:
            return tensor.reshape(-1)  # with gaps, or elements that share a place
        step *= size
    return tensor.as_strided((tensor.numel(),), (1,))  # transposed: another order, no gaps


def strided(flat: Tensor, turn: int, size: int = SAMPLE) -> Tensor:
    """Every so many elements of a flat tensor, as a view of at most `size`.

    The stride has no factor in common with the number of elements, so that it cannot march in
    step with channels or rows; the start moves with `turn` instead of by chance, because the
    state of random generators belongs to the training. The size does not depend on the start,
    so that all that follows from the sizes alone is worked out once.
    """
    count = flat.numel()
    if count <= size:
        return flat
    stride = _stride(count, size)
    start = (turn * 7919) % stride
    return flat[start : start + count // stride * stride : stride]


@lru_cache(maxsize=4096)
def _stride(count: int, size: int) -> int:
    stride = -(-count // size)
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride


def sums(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and sum of squares, as float32 scalars."""
    if flat.dtype == torch.float32:
        return flat.sum(), torch.dot(flat, flat)
    total = flat.sum(dtype=torch.float32)
    if flat.element_size() > 4:
        return total, torch.dot(flat, flat).float()
    # In 16 bits the sum itself would overflow.
    return total, torch.linalg.vector_norm(flat, dtype=torch.float32).square()


def extremes(tensor: Tensor, units: Units) -> tuple[Tensor, ...]:
    """By unit, numbers of which one differs from zero where the unit is active.

    They are its largest and smallest element, which the range of the tensor follows from, or
    with bounds 0 or 1.
    """
    axis = units.axis % tensor.ndim
    others = tuple(dim for dim in range(tensor.ndim) if dim != axis)
    if units.bounds is not None:
        low, high = units.bounds
        margin = 0.01 * (high - low)
        at_bound = ((tensor <= low + margin) | (tensor >= high - margin)).float()
        share = at_bound.mean(others) if others else at_bound
        return ((share < SATURATED_SHARE).float(),)
    if not others:  # each element is a unit
        return (tensor.float().clone(),)
    largest = _by_unit(torch.amax, tensor, axis, others).float()
    if units.nonnegative:
        return (largest,)
    return largest, _by_unit(torch.amin, tensor, axis, others).float()


def _by_unit(
    reduce: Callable[..., Tensor], tensor: Tensor, axis: int, others: tuple[int, ...]
) -> Tensor:
    """The largest or smallest element of each unit, shape (units,)."""
    on_host = tensor.device.type == "cpu"
    if axis == 1 and tensor.ndim > 2 and on_host and tensor.is_contiguous():
        # A channel of one example lies in one piece: in two stages it takes a quarter less.
        return reduce(reduce(tensor.flatten(2), 2), 0)
    return reduce(tensor, others)
