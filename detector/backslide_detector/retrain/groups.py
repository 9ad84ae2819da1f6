"""Which classes and slices a retrain changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from backslide_detector.evidence import Ints, Predictions
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.stats.mcnemar import midp_pvalue
from backslide_detector.stats.multiplicity import holm
from backslide_detector.stats.tango import tango_intervals

CLUSTERS: Final = "group"
"""Slice column that names what examples come in groups of: a patient, a document, a track."""
FEWEST_CLUSTERS: Final = 20
"""With fewer different values than this, the column is a slice like any other."""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One class or slice before and after the retrain.

    Attributes:
        column: "class", or the name of the slice column, or two joined by " & ".
        group: the class or the value of the slice.
        n: common examples in it.
        old_error, new_error: error rates on them.
        fixed, broken: newly right and newly wrong.
        interval: Tango's 95 % interval of the change of the error, not adjusted.
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
    interval: tuple[float, float]
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
    columns = {name: _column(new.slices[name], pairing) for name in sorted(new.slices)}
    return {k: column for k, column in columns.items() if not _are_clusters(k, column)}


def clusters(new: Predictions, pairing: Pairing) -> Ints | None:
    """The group that each common example came in, shape (n,); None where they are single."""
    if CLUSTERS not in new.slices:
        return None
    column = _column(new.slices[CLUSTERS], pairing)
    return column.codes if _are_clusters(CLUSTERS, column) else None


def _are_clusters(name: str, column: Column) -> bool:
    return name == CLUSTERS and len(column.names) >= FEWEST_CLUSTERS


def tabulate(columns: Mapping[str, Column], pairing: Pairing) -> tuple[GroupChange, ...]:
    """All groups of all columns, Holm-adjusted together; clearest change first."""
    return compared(
        [
            tally
            for name, column in columns.items()
            for tally in tallies(name, column, pairing.outcome)
        ]
    )


def tabulate_together(
    classes: Mapping[str, Column], slices: Mapping[str, Column], pairing: Pairing
) -> tuple[tuple[GroupChange, ...], tuple[GroupChange, ...]]:
    """Classes and slices apart, but adjusted together, so that both keep one promise."""
    tables = [
        [t for name, column in part.items() for t in tallies(name, column, pairing.outcome)]
        for part in (classes, slices)
    ]
    found = _measured([*tables[0], *tables[1]])
    split = len(tables[0])
    return _sorted(found[:split]), _sorted(found[split:])


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each outcome occurs in one group.

    Attributes:
        counts: right in both, broken, fixed and wrong in both, shape (4,).
    """

    column: str
    group: str
    counts: Ints


def tallies(name: str, column: Column, outcome: NDArray[np.int8]) -> list[Tally]:
    """Every group of a column that has common examples."""
    codes = column.codes
    if len(codes) and codes.min() < 0:
        codes, outcome = codes[codes >= 0], outcome[codes >= 0]
    flat = np.bincount(4 * codes + outcome, minlength=4 * len(column.names))
    counts = flat.reshape(-1, 4)
    return [Tally(name, column.names[i], counts[i]) for i in np.flatnonzero(counts.sum(axis=1))]


def compared(rows: Sequence[Tally], at_least: ArrayLike = 0.0) -> tuple[GroupChange, ...]:
    """Rates, intervals, p-values adjusted for the number of groups; clearest change first.

    Args:
        rows: the groups.
        at_least: p-values of what else is claimed of each; the larger one counts.
    """
    return _sorted(_measured(rows, at_least))


def _sorted(rows: Sequence[GroupChange]) -> tuple[GroupChange, ...]:
    return tuple(sorted(rows, key=lambda row: (row.pvalue, row.column, row.group)))


def _measured(rows: Sequence[Tally], at_least: ArrayLike = 0.0) -> list[GroupChange]:
    """The same in the order given."""
    if not rows:
        return []
    counts = np.array([row.counts for row in rows], dtype=np.int64)
    total, broken, fixed, both = counts.sum(axis=1), counts[:, 1], counts[:, 2], counts[:, 3]
    low, high = tango_intervals(broken, fixed, total)
    numbers = zip(
        rows,
        total.tolist(),
        ((fixed + both) / total).tolist(),
        ((broken + both) / total).tolist(),
        fixed.tolist(),
        broken.tolist(),
        zip(low.tolist(), high.tolist(), strict=True),
        holm(np.maximum(midp_pvalue(broken, fixed), at_least)).tolist(),
        strict=True,
    )
    return [GroupChange(row.column, row.group, *rest) for row, *rest in numbers]


def _column(values: NDArray[np.object_], pairing: Pairing) -> Column:
    """Number the groups of all examples, then keep those of the common ones."""
    codes, names = pd.factorize(values)
    return Column(codes[pairing.rows[0]].astype(np.int64), tuple(map(str, names)))
