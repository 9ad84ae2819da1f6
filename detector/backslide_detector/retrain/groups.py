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
        [row for name, column in columns.items() for row in _count(name, column, pairing)]
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
    held = pd.util.hash_array(ids, categorize=False) % 2 == 1
    searched, confirming = _part(pairing, ~held), _part(pairing, held)

    candidates: list[tuple[float, str, str]] = []
    crossings: dict[str, Column] = {}
    for left, right in combinations(names, 2):
        name = f"{left} & {right}"
        crossings[name] = _crossed(columns[left], columns[right])
        rows = _count(name, _some(crossings[name], ~held), searched)
        candidates += [(row.pvalue, name, row.group) for row in rows if row.n >= FEWEST]
    chosen = {(name, group) for _, name, group in sorted(candidates)[:CANDIDATES]}
    confirmed = [
        row
        for name in sorted({name for name, _ in chosen})
        for row in _count(name, _some(crossings[name], held), confirming)
        if (name, row.group) in chosen and row.n >= FEWEST
    ]
    return _adjusted(confirmed)


def _column(values: NDArray[np.object_], pairing: Pairing) -> Column:
    """Number the groups of all examples, then keep those of the common ones."""
    codes, names = pd.factorize(values)
    return Column(codes[pairing.rows[0]].astype(np.int64), tuple(map(str, names)))


def _crossed(left: Column, right: Column) -> Column:
    """Every combination of two columns."""
    codes = left.codes * len(right.names) + right.codes
    codes[(left.codes < 0) | (right.codes < 0)] = -1
    return Column(codes, tuple(f"{a} & {b}" for a in left.names for b in right.names))


def _some(column: Column, mask: NDArray[np.bool_]) -> Column:
    """The same column on a part of the examples."""
    return Column(column.codes[mask], column.names)


def _part(pairing: Pairing, mask: NDArray[np.bool_]) -> Pairing:
    """The same pairing on a part of the examples."""
    return Pairing(
        new_wrong=pairing.new_wrong[mask],
        old_wrong=pairing.old_wrong[mask],
        rows=(pairing.rows[0][mask], pairing.rows[1][mask]),
        relabelled=0,
    )


def _count(name: str, column: Column, pairing: Pairing) -> list[GroupChange]:
    """Counts and unadjusted p-values of every group that has common examples."""
    codes, outcome = column.codes, pairing.outcome
    if len(codes) and codes.min() < 0:
        codes, outcome = codes[codes >= 0], outcome[codes >= 0]
    flat = np.bincount(4 * codes + outcome, minlength=4 * len(column.names))
    counts = flat.reshape(-1, 4)
    total, broken, fixed, both = counts.sum(axis=1), counts[:, 1], counts[:, 2], counts[:, 3]
    pvalues = midp_pvalue(broken, fixed)
    return [
        GroupChange(
            column=name,
            group=column.names[i],
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
