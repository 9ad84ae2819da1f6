"""Which classes and slices a retrain changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backslide_detector.evidence import Ints, Predictions
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.stats.mcnemar import midp_pvalue
from backslide_detector.stats.multiplicity import holm

MOST_COLUMNS: Final = 6
"""Slice columns whose pairs are searched; more would leave the confirmation no power."""
CANDIDATES: Final = 5
"""Discovered slices that go to confirmation."""
FEWEST: Final = 20
"""Examples below which a discovered slice is not worth a name."""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One class or slice before and after the retrain.

    Attributes:
        column: "class", or the name of the slice column, or two joined by " & ".
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


@dataclass(frozen=True, slots=True)
class Column:
    """The group of each common example.

    Attributes:
        codes: index into `names`, shape (n,); -1 where the value is missing.
        names: the groups; some may have no common example.
    """

    codes: Ints
    names: tuple[str, ...]


def by_class(new: Predictions, old: Predictions) -> tuple[GroupChange, ...]:
    """What the retrain did to each class, smallest p-value first; empty for number targets."""
    pairing = pair(new, old)
    return tabulate(class_column(new, pairing), pairing)


def by_slice(new: Predictions, old: Predictions) -> tuple[GroupChange, ...]:
    """What the retrain did to each slice of every slice column, smallest p-value first.

    Slices are those of the new run; Holm's adjustment runs over all columns together.
    """
    pairing = pair(new, old)
    return tabulate(slice_columns(new, pairing), pairing)


def class_column(new: Predictions, pairing: Pairing) -> dict[str, Column]:
    """The class of each common example, as the column "class"; empty for number targets."""
    if len(new) == 0 or not isinstance(new.targets[0], str):
        return {}
    return {"class": _column(new.targets, pairing)}


def slice_columns(new: Predictions, pairing: Pairing) -> dict[str, Column]:
    """The slice of each common example in every slice column of the new run."""
    return {name: _column(new.slices[name], pairing) for name in sorted(new.slices)}


def tabulate(columns: Mapping[str, Column], pairing: Pairing) -> tuple[GroupChange, ...]:
    """All groups of all columns, Holm-adjusted together; clearest change first."""
    return _adjusted(
        [
            row
            for name, column in columns.items()
            for row in _changes(name, column.names, _outcomes(column, pairing.outcome, kinds=4))
        ]
    )


def discover_slices(
    columns: Mapping[str, Column], ids: NDArray[np.object_], pairing: Pairing
) -> tuple[GroupChange, ...]:
    """Crossings of two columns that changed, found on one half and confirmed on the other.

    The halves are split by a hash of the ids, so that they are the same in every retrain. All
    numbers are of the held half alone; the half that suggested a slice is no evidence for it.

    Args:
        columns: by name; crossings of a constant one are not looked at.
        ids: of the common examples, shape (n,).
        pairing: the common examples.
    """
    names = [name for name, column in columns.items() if len(column.names) > 1]
    if not 2 <= len(names) <= MOST_COLUMNS:
        return ()
    # Halves 0 and 1 are counted in one pass: outcome 0 to 3 searched, 4 to 7 held.
    held = (pd.util.hash_array(ids, categorize=False) % 2).astype(np.int8)
    outcome = pairing.outcome + 4 * held

    candidates: list[tuple[float, str, str, GroupChange]] = []
    for left, right in combinations(names, 2):
        crossed = _crossed(columns[left], columns[right])
        counts = _outcomes(crossed, outcome, kinds=8)
        searching = _changes(f"{left} & {right}", crossed.names, counts[:, :4])
        confirming = _changes(f"{left} & {right}", crossed.names, counts[:, 4:])
        confirmed = {row.group: row for row in confirming if row.n >= FEWEST}
        candidates += [
            (row.pvalue, row.column, row.group, confirmed[row.group])
            for row in searching
            if row.n >= FEWEST and row.group in confirmed
        ]
    candidates.sort(key=lambda candidate: candidate[:3])
    return _adjusted([row for *_, row in candidates[:CANDIDATES]])


def _column(values: NDArray[np.object_], pairing: Pairing) -> Column:
    """Number the groups of all examples, then keep those of the common ones."""
    codes, names = pd.factorize(values)
    return Column(codes[pairing.rows[0]].astype(np.int64), tuple(map(str, names)))


def _crossed(left: Column, right: Column) -> Column:
    """Every combination of two columns."""
    codes = left.codes * len(right.names) + right.codes
    codes[(left.codes < 0) | (right.codes < 0)] = -1
    return Column(codes, tuple(f"{a} & {b}" for a in left.names for b in right.names))


def _outcomes(column: Column, outcome: NDArray[np.int8], *, kinds: int) -> Ints:
    """How often each outcome occurs in each group, shape (groups, kinds)."""
    codes = column.codes
    if len(codes) and codes.min() < 0:
        codes, outcome = codes[codes >= 0], outcome[codes >= 0]
    flat = np.bincount(kinds * codes + outcome, minlength=kinds * len(column.names))
    return np.asarray(flat.reshape(-1, kinds), dtype=np.int64)


def _changes(name: str, names: tuple[str, ...], counts: Ints) -> list[GroupChange]:
    """Rates and unadjusted p-values of every group that has common examples.

    Args:
        name: of the column.
        names: of the groups.
        counts: right in both, broken, fixed and wrong in both, shape (groups, 4).
    """
    total, broken, fixed, both = counts.sum(axis=1), counts[:, 1], counts[:, 2], counts[:, 3]
    pvalues = midp_pvalue(broken, fixed)
    return [
        GroupChange(
            column=name,
            group=names[i],
            n=int(total[i]),
            old_error=float((fixed[i] + both[i]) / total[i]),
            new_error=float((broken[i] + both[i]) / total[i]),
            fixed=int(fixed[i]),
            broken=int(broken[i]),
            pvalue=float(pvalues[i]),
        )
        for i in np.flatnonzero(total)
    ]


def _adjusted(rows: list[GroupChange]) -> tuple[GroupChange, ...]:
    """P-values adjusted for the number of groups looked at; clearest change first."""
    adjusted = holm([row.pvalue for row in rows])
    changed = [replace(r, pvalue=float(p)) for r, p in zip(rows, adjusted, strict=True)]
    return tuple(sorted(changed, key=lambda row: (row.pvalue, row.column, row.group)))
