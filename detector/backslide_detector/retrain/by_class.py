"""Which classes and slices a retrain changed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from statsmodels.stats.multitest import multipletests

from backslide_detector.evidence import Predictions
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.stats.mcnemar import midp_pvalue


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One class or slice before and after the retrain.

    Attributes:
        column: "class", or the name of the slice column.
        group: the class or the value of the slice.
        n: common examples in it.
        old_error, new_error: error rates on them.
        fixed, broken: newly right and newly wrong.
        pvalue: mid-p McNemar, Holm-adjusted over all groups of the table, so that the chance of
            any false one in a retrain is at most 5 % at 0.05.
    """

    column: str
    group: str
    n: int
    old_error: float
    new_error: float
    fixed: int
    broken: int
    pvalue: float


def by_class(new: Predictions, old: Predictions) -> tuple[GroupChange, ...]:
    """What the retrain did to each class, smallest p-value first; empty for number targets."""
    pairing = pair(new, old)
    targets = new.targets[pairing.rows[0]]
    if len(targets) == 0 or not isinstance(targets[0], str):
        return ()
    return _holm(_tabulate("class", targets, pairing))


def by_slice(new: Predictions, old: Predictions) -> tuple[GroupChange, ...]:
    """What the retrain did to each slice of every slice column, smallest p-value first.

    Slices are those of the new run; Holm's adjustment runs over all columns together.
    """
    pairing = pair(new, old)
    rows: list[GroupChange] = []
    for column in sorted(new.slices):
        rows += _tabulate(column, new.slices[column][pairing.rows[0]], pairing)
    return _holm(rows)


def _tabulate(column: str, groups: ArrayLike, pairing: Pairing) -> list[GroupChange]:
    """Counts and unadjusted p-values of every group of one column."""
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    known = codes >= 0

    def tally(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[int]:
        return [int(k) for k in np.bincount(codes[known & mask], minlength=len(names))]

    new_wrong, old_wrong = pairing.new_wrong, pairing.old_wrong
    total = tally(np.ones(len(codes), dtype=np.bool_))
    broken, fixed = tally(new_wrong & ~old_wrong), tally(old_wrong & ~new_wrong)
    wrong_new, wrong_old = tally(new_wrong), tally(old_wrong)
    pvalues = midp_pvalue(broken, fixed)
    return [
        GroupChange(
            column,
            str(name),
            total[i],
            wrong_old[i] / total[i],
            wrong_new[i] / total[i],
            fixed[i],
            broken[i],
            float(pvalues[i]),
        )
        for i, name in enumerate(names)
    ]


def _holm(rows: list[GroupChange]) -> tuple[GroupChange, ...]:
    """Adjust p-values for the number of groups looked at; clearest change first."""
    if not rows:
        return ()
    adjusted = multipletests([row.pvalue for row in rows], method="holm")[1]
    changed = [
        GroupChange(
            r.column, r.group, r.n, r.old_error, r.new_error, r.fixed, r.broken, float(p)
        )
        for r, p in zip(rows, adjusted, strict=True)
    ]
    return tuple(sorted(changed, key=lambda row: (row.pvalue, row.column, row.group)))
