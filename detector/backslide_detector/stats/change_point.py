"""When a lineage changed, once it is known that it did."""

import numpy as np
import ruptures
from numpy.typing import ArrayLike


def date_change(values: ArrayLike) -> int:
    """Index of the first value after the one change of mean that fits best.

    Exact search for one change under squared error (Truong, Oudre and Vayatis 2020, Signal
    Processing 167:107299; the library ruptures). It always finds one, so it dates a change that
    a detector has shown and shows none itself. Of a slow drift it gives the middle.

    Args:
        values: in order of time, shape (t,), at least two.

    Raises:
        ValueError: fewer than two values, or values that are not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.all(np.isfinite(x)):
        raise ValueError("a change can be dated in one row of two or more finite values")
    found = ruptures.Dynp(model="l2", min_size=1, jump=1).fit(x[:, None]).predict(n_bkps=1)
    return int(found[0])
