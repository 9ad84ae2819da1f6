"""Dead and saturated units, judged over several batches and never on one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 8
"""Sampled batches that a unit must have been inactive on to count as dead or saturated."""


class UnitWindows:
    """Remembers, for each unit, the last sampled batch on which it was active."""

    def __init__(self) -> None:
        """Knows no units yet."""
        self._last: dict[int, NDArray[np.int64]] = {}
        self._batches: dict[int, int] = {}

    def inactive(self, key: int, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Takes one batch and returns the units inactive over the whole window.

        Args:
            key: the tensor.
            active: by unit. Another number of units than before starts the window anew.
        """
        last = self._last.get(key)
        if last is None or last.shape != active.shape:
            last = self._last[key] = np.full(active.shape, -1)
            self._batches[key] = 0
        batch = self._batches[key]
        self._batches[key] = batch + 1
        np.putmask(last, active, batch)
        return last <= max(batch - WINDOW, -1)
