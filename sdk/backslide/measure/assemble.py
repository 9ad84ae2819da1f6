"""From measured rows to a snapshot: places, units over several batches, network figures."""

from collections.abc import Callable

import numpy as np

from backslide.contract import HISTOGRAM_BINS, Metric, Role
from backslide.measure.layout import Layout
from backslide.measure.rows import Rows
from backslide.measure.snapshot import STATISTICS, Snapshot
from backslide.measure.units import UnitWindows

SATURATED = STATISTICS.index("saturated_fraction")
DEAD = STATISTICS.index("dead_fraction")


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

    def snapshot(self, step: int, wall_time: float, rows: Rows, overhead: float) -> Snapshot:
        """The snapshot of one step; tensors without a row in it are NaN.

        Args:
            step: the training step.
            wall_time: epoch seconds.
            rows: what was measured in it.
            overhead: share of training time spent on watching so far.
        """
        keys = rows.keys.tolist()
        self._layout.admit(dict(zip(keys, rows.count.tolist(), strict=True)), self._depth)
        catalogue = self._layout.catalogue
        at = [self._layout.row(key) for key in keys]
        stats = np.full((len(catalogue), len(STATISTICS)), np.nan, np.float32)
        histogram = np.zeros((len(catalogue), HISTOGRAM_BINS), np.int32)
        counts = np.array(catalogue.counts, np.int64)
        moments = rows.mean, rows.std, rows.rms, rows.abs_max
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite there
            stats[at, :6] = np.stack([*moments, rows.zero_fraction, rows.nonfinite_fraction], 1)
        histogram[at] = rows.histogram
        counts[at] = rows.count
        dead = []
        for units, column in (rows.active, DEAD), (rows.unsaturated, SATURATED):
            for key, flags in units.items():
                inactive = self._windows.inactive(key, flags)
                stats[self._layout.row(key), column] = (
                    inactive.mean() if inactive.size else np.nan
                )
                if column == DEAD and self._layout.places[key].role is Role.ACTIVATION:
                    dead.append(inactive)
        scalars = self._scalars(rows) | {Metric.OVERHEAD: overhead}
        if dead:
            scalars[Metric.DEAD_FRACTION] = float(np.concatenate(dead).mean())
        varies = not np.array_equal(counts, catalogue.counts)
        return Snapshot(
            step, wall_time, catalogue, stats, histogram, scalars, counts if varies else None
        )

    def _scalars(self, rows: Rows) -> dict[str, float]:
        """Norm of all gradients, and of all updates as a share of that of their weights."""
        roles = np.array([self._layout.places[key].role for key in rows.keys.tolist()])
        norms = {
            role: float(np.sqrt(rows.square_sum[roles == role].sum()))
            for role in (Role.GRADIENT, Role.UPDATE, Role.WEIGHT)
            if (roles == role).any()
        }
        scalars: dict[str, float] = {}
        if Role.GRADIENT in norms:
            scalars[Metric.GRADIENT_NORM] = norms[Role.GRADIENT]
        if Role.UPDATE in norms and norms[Role.WEIGHT] > 0:
            scalars[Metric.UPDATE_RATIO] = norms[Role.UPDATE] / norms[Role.WEIGHT]
        return scalars
