"""From measured rows to a snapshot: places, units over several batches, network figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide.contract import HISTOGRAM_BINS, Metric, Role
from backslide.measure.layout import Layout
from backslide.measure.rows import Rows
from backslide.measure.snapshot import STATISTICS, Catalogue, Snapshot
from backslide.measure.units import UnitWindows

SATURATED = STATISTICS.index("saturated_fraction")
DEAD = STATISTICS.index("dead_fraction")


@dataclass(frozen=True, eq=False)
class _Seats:
    """Where the rows of a step go; the same in most steps.

    Attributes:
        keys: the rows.
        catalogue: what they are rows of.
        at: their places in it.
        counts: elements of the catalogue's tensors.
        roles: by role, which rows have it.
    """

    keys: NDArray[np.int64]
    catalogue: Catalogue
    at: NDArray[np.intp]
    counts: NDArray[np.int64]
    roles: dict[Role, NDArray[np.bool_]]


class Assembler:
    """Puts the rows of successive steps together; remembers units from step to step.

    Args:
        layout: the numbers of tensors.
        depth: position of a module in the order of calls.
    """

    def __init__(self, layout: Layout, depth: Callable[[str], int]) -> None:
        """Has seen no step yet."""
        self._layout = layout
        self._depth = depth
        self._windows = UnitWindows()
        self._seats: _Seats | None = None

    def snapshot(self, step: int, wall_time: float, rows: Rows, overhead: float) -> Snapshot:
        """The snapshot of one step; tensors without a row in it are NaN.

        Args:
            step: the training step.
            wall_time: epoch seconds.
            rows: what was measured in it.
            overhead: share of training time spent on watching so far.
        """
        seats = self._seated(rows)
        catalogue, at = seats.catalogue, seats.at
        stats = np.full((len(catalogue), len(STATISTICS)), np.nan, np.float32)
        histogram = np.zeros((len(catalogue), HISTOGRAM_BINS), np.int32)
        counts = seats.counts.copy()
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite there
            for column, name in enumerate(STATISTICS[:6]):
                stats[at, column] = getattr(rows, name)
        histogram[at] = rows.histogram
        counts[at] = rows.count
        dead = units = 0
        for flags_by_key, column in (rows.active, DEAD), (rows.unsaturated, SATURATED):
            for key, flags in flags_by_key.items():
                inactive = self._windows.inactive(key, flags)
                number = int(np.count_nonzero(inactive))
                stats[self._layout.row(key), column] = (
                    number / inactive.size if inactive.size else np.nan
                )
                if column == DEAD and self._layout.places[key].role is Role.ACTIVATION:
                    dead, units = dead + number, units + inactive.size
        scalars = _scalars(rows, seats) | {Metric.OVERHEAD: overhead}
        if units:
            scalars[Metric.DEAD_FRACTION] = dead / units
        varies = not np.array_equal(counts, seats.counts)
        return Snapshot(
            step, wall_time, catalogue, stats, histogram, scalars, counts if varies else None
        )

    def _seated(self, rows: Rows) -> _Seats:
        """Where rows go; tensors measured for the first time get a place."""
        known = self._seats
        if known is not None and known.keys is rows.keys:
            return known
        layout = self._layout
        keys = rows.keys.tolist()
        layout.admit(dict(zip(keys, rows.count.tolist(), strict=True)), self._depth)
        roles = [layout.places[key].role for key in keys]
        self._seats = _Seats(
            rows.keys,
            layout.catalogue,
            np.array([layout.row(key) for key in keys], np.intp),
            np.array(layout.catalogue.counts, np.int64),
            {
                role: np.array([each is role for each in roles])
                for role in (Role.GRADIENT, Role.UPDATE, Role.WEIGHT)
                if role in roles
            },
        )
        return self._seats


def _scalars(rows: Rows, seats: _Seats) -> dict[str, float]:
    """Norm of all gradients before clipping, and of all updates over that of their weights."""
    with np.errstate(invalid="ignore", divide="ignore"):  # all clipped away: no number is right
        square_sum = rows.square_sum / np.square(rows.clipped)
    norms = {role: math.sqrt(square_sum[place].sum()) for role, place in seats.roles.items()}
    scalars: dict[str, float] = {}
    if Role.GRADIENT in norms:
        scalars[Metric.GRADIENT_NORM] = norms[Role.GRADIENT]
    if Role.UPDATE in norms and norms[Role.WEIGHT] > 0:
        scalars[Metric.UPDATE_RATIO] = norms[Role.UPDATE] / norms[Role.WEIGHT]
    return scalars
