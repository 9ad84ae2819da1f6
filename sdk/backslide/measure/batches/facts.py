"""From pieces of a batch to facts about it: arithmetic on the host, in float64."""

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backslide.measure.batches.answers import Answers, middle

Floats = NDArray[np.float64]
NAN: Final = float("nan")

FEATURES: Final = 1024
"""Features of an example that are looked at."""

_MULTIPLIERS: Final = np.random.default_rng(0).integers(
    1 << 64, size=FEATURES, dtype=np.uint64
) | np.uint64(1)
"""One a feature; odd, so that no bit is lost."""


@dataclass(frozen=True)
class Trial:
    """What a few extra evaluations told; see `contract.BATCHES_SCHEMA`."""

    trial_loss: float = NAN
    trial_eval_loss: float = NAN
    trial_error: float = NAN
    trial_eval_error: float = NAN
    trial_eval_distance: float = NAN
    trial_noise: float = NAN
    mixing: float = NAN
    mixing_layer: str = ""
    mixing_structural: bool = False
    dependence: float = NAN
    memory: float = NAN
    cut_layer: str = ""


@dataclass(frozen=True)
class Inputs:
    """The columns of `contract.BATCHES_SCHEMA` that describe inputs."""

    input_mean: float = NAN
    input_std: float = NAN
    input_rms: float = NAN
    input_abs_max: float = NAN
    input_spread_ratio: float = NAN
    input_offset: float = NAN
    input_constant_fraction: float = NAN
    input_nonfinite_fraction: float = NAN


class Calls(NamedTuple):
    """Calls of the model without gradients, as far as hooks saw them.

    Attributes:
        training, evaluation: in that mode.
        again: on the same inputs as the call before, in whatever mode.
    """

    training: int = 0
    evaluation: int = 0
    again: int = 0


@dataclass(frozen=True)
class Batch:
    """One row of `contract.BATCHES_SCHEMA`, its columns in groups."""

    step: int
    examples: int
    training: bool
    optimizer_steps: int
    uncleared: float
    calls: Calls
    digests: tuple[int, ...]
    inputs: Inputs
    answers: Answers
    trial: Trial

    def columns(self) -> dict[str, object]:
        """The row, by column."""
        own = {name: getattr(self, name) for name in ("step", "examples", "training")}
        own |= {"optimizer_steps": self.optimizer_steps, "uncleared": self.uncleared}
        own |= {f"calls_{name}": count for name, count in self.calls._asdict().items()}
        groups = vars(self.inputs) | vars(self.answers) | vars(self.trial)
        return own | {"digests": self.digests} | groups


def digests(block: NDArray[np.generic], *others: NDArray[np.generic]) -> tuple[int, ...]:
    """A fingerprint of each row, shape (n, f); equal rows have equal ones, in any batch.

    A sum of all elements' bits, each times a random odd number of its column: integers wrap
    around and add up to the same in any order.

    Args:
        block: the rows.
        others: what else belongs to each of them, by rows too.
    """
    sums = _sums(block)
    for place, other in enumerate(others, start=1):
        rows = min(len(sums), len(other))  # of large ones fewer are at hand
        sums[:rows] += _sums(other)[:rows] * _MULTIPLIERS[-place]
    return tuple(sums.view(np.int64).tolist())


def _sums(block: NDArray[np.generic]) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(block).view(f"u{block.dtype.itemsize}")
    found = np.einsum("ij,j->i", bits, _MULTIPLIERS[: block.shape[1]])
    return np.asarray(found, np.uint64)


def describe(block: NDArray[np.generic]) -> Inputs:
    """Scale of the features, shape (n, f); nothing where they are integers."""
    low, high = np.minimum.reduce(block, 0), np.maximum.reduce(block, 0)
    constant = float(np.count_nonzero(low == high)) / len(low)
    if block.dtype.kind != "f":
        return Inputs(input_constant_fraction=constant)
    finite = np.isfinite(low) & np.isfinite(high)
    if finite.all():
        fine = _scale(block.astype(np.float64), low, high)
        return replace(fine, input_constant_fraction=constant)
    broken = 1.0 - float(np.isfinite(block).mean())
    if not finite.any():
        return Inputs(input_nonfinite_fraction=broken)
    fine = _scale(block[:, finite].astype(np.float64), low[finite], high[finite])
    return replace(fine, input_constant_fraction=constant, input_nonfinite_fraction=broken)


def _scale(values: Floats, low: NDArray[np.generic], high: NDArray[np.generic]) -> Inputs:
    """The facts about finite values, shape (n, f), and their range; overwrites them."""
    rows, columns = values.shape
    # By ufuncs: `mean`, `var` and `np.median` are Python, which is cold in the caches here.
    mean = np.add.reduce(values, 0) / rows
    values -= mean
    variance = np.einsum("ij,ij->j", values, values) / rows
    varying = (low != high) & (variance > 0)  # the squares of 1e-200 are zero
    ratio = offset = NAN
    if varying.any():
        spread = np.sqrt(variance[varying])
        ratio = float(np.maximum.reduce(spread) / np.minimum.reduce(spread))
        offset = middle(np.abs(mean[varying]) / spread)
    # Mean square: variance within the features, that between their means, squared mean.
    whole = float(np.add.reduce(mean)) / columns
    mean -= whole
    square = (float(np.add.reduce(variance)) + float(np.dot(mean, mean))) / columns
    return Inputs(
        input_mean=whole,
        input_std=math.sqrt(square),
        input_rms=math.sqrt(square + whole**2),
        input_abs_max=float(max(-np.minimum.reduce(low), np.maximum.reduce(high))),
        input_spread_ratio=ratio,
        input_offset=offset,
        input_nonfinite_fraction=0.0,
    )
