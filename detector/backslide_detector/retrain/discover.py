"""Slices that nobody named: crossings of columns, found on one half, confirmed on the other.

The library sliceline was tried for the search. It ranks slices by their mean error, where the
question here is which of them two models changed, and it takes seconds where a verdict has
milliseconds. Only examples on which the two models disagree tell the models apart, so the
search looks at those alone; the rest is counted for the few slices that go to confirmation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backslide_detector.retrain.groups import Column, GroupChange, Tally, compared
from backslide_detector.retrain.pairing import Pairing
from backslide_detector.stats.mcnemar import midp_pvalue

CANDIDATES: Final = 3
"""Slices that go to confirmation."""
MOST_VALUES: Final = 100
"""Values that are crossed, of all columns together; the commonest among the flips."""
MOST_LEVELS: Final = 3
"""Columns in one crossing."""
BEAM: Final = 10
"""Crossings of two that are crossed with a third."""
FEWEST: Final = 20
"""Examples in each half, below which a slice is not worth a name."""
SAME: Final = 0.5
"""Two crossings that share more of their flips than this are one finding."""


@dataclass(frozen=True, slots=True)
class _Value:
    """One value of one column."""

    column: str
    code: int


@dataclass(frozen=True, slots=True)
class _Crossing:
    """Values of different columns.

    Attributes:
        values: their indices, ascending.
        pvalue: of a change in the searched half.
        flips: which of the searched flips lie in it, shape (f,).
    """

    values: tuple[int, ...]
    pvalue: float
    flips: NDArray[np.bool_]


def discover_slices(
    columns: Mapping[str, Column], ids: NDArray[np.object_], pairing: Pairing
) -> tuple[GroupChange, ...]:
    """Crossings of two or three columns that changed as clearly as what they are made of.

    The halves are split by a hash of the ids, never by order, so that they are the same in
    every retrain. All numbers are of the held half alone; the half that suggested a slice is
    no evidence for it. The p-values are Holm-adjusted over the slices that were held to it.

    Args:
        columns: by name.
        ids: of the common examples, shape (n,).
        pairing: the common examples.
    """
    columns = {name: column for name, column in columns.items() if len(column.names) > 1}
    flipped = np.flatnonzero((pairing.outcome == 1) | (pairing.outcome == 2))
    searched = flipped[~_held(ids[flipped])]
    if len(columns) < 2 or not len(searched):
        return ()
    values, member = _members(columns, searched)
    crossings = _search(values, member, pairing.outcome[searched] == 1)
    rows: list[Tally] = []
    for crossing in _distinct(crossings):
        parts = sorted((values[i] for i in crossing.values), key=lambda part: part.column)
        inside = np.all([columns[part.column].codes == part.code for part in parts], axis=0)
        examples = np.flatnonzero(inside)
        held = _held(ids[examples])
        if min(np.count_nonzero(held), np.count_nonzero(~held)) < FEWEST:
            continue
        rows.append(
            Tally(
                " & ".join(part.column for part in parts),
                " & ".join(columns[part.column].names[part.code] for part in parts),
                np.bincount(pairing.outcome[examples[held]], minlength=4),
            )
        )
        if len(rows) == CANDIDATES:
            break
    return compared(rows)


def _held(ids: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which examples belong to the half that is held back."""
    return np.asarray(pd.util.hash_array(ids, categorize=False) % 2 == 1, dtype=np.bool_)


def _members(
    columns: Mapping[str, Column], rows: NDArray[np.intp]
) -> tuple[list[_Value], NDArray[np.bool_]]:
    """The commonest values among the rows, and which row has which, shape (values, rows)."""
    counted: list[tuple[int, _Value]] = []
    for name, column in columns.items():
        codes = column.codes[rows]
        counts = np.bincount(codes[codes >= 0], minlength=len(column.names))
        counted += [(int(counts[i]), _Value(name, int(i))) for i in np.flatnonzero(counts)]
    counted.sort(key=lambda pair: (-pair[0], pair[1].column, pair[1].code))
    values = [value for _, value in counted[:MOST_VALUES]]
    members = [columns[value.column].codes[rows] == value.code for value in values]
    return values, np.asarray(members, dtype=np.bool_).reshape(len(values), len(rows))


def _search(
    values: Sequence[_Value], member: NDArray[np.bool_], broken: NDArray[np.bool_]
) -> list[_Crossing]:
    """Crossings at least as clear as each of their parts, clearest first."""
    weights = member.astype(np.float32)
    names = np.array([value.column for value in values])
    alone = midp_pvalue(member @ broken.astype(np.int64), member @ (~broken).astype(np.int64))
    level = [_Crossing((i,), float(alone[i]), member[i]) for i in range(len(values))]
    found: list[_Crossing] = []
    for _ in range(1, MOST_LEVELS):
        inside = np.array([crossing.flips for crossing in level], dtype=np.float32)
        worse = np.rint((inside * broken) @ weights.T).astype(np.int64)
        better = np.rint((inside * ~broken) @ weights.T).astype(np.int64)
        pvalues = midp_pvalue(worse, better)
        clearer = pvalues <= np.minimum(
            np.array([crossing.pvalue for crossing in level])[:, None], alone
        )
        for i, crossing in enumerate(level):
            clearer[i] &= ~np.isin(names, names[list(crossing.values)])
            clearer[i, : max(crossing.values)] = False  # each combination once
        level = [
            _Crossing((*level[i].values, j), float(pvalues[i, j]), level[i].flips & member[j])
            for i, j in np.argwhere(clearer).tolist()
        ]
        level = sorted(level, key=_order)[: BEAM * CANDIDATES]
        found += level
        level = level[:BEAM]
        if not level:
            break
    return sorted(found, key=_order)


def _distinct(crossings: Sequence[_Crossing]) -> Iterator[_Crossing]:
    """Those that are not mostly the same flips as a clearer one."""
    taken: list[NDArray[np.bool_]] = []
    for crossing in crossings:
        shared = [
            np.count_nonzero(crossing.flips & other) / np.count_nonzero(crossing.flips | other)
            for other in taken
        ]
        if all(share <= SAME for share in shared):
            taken.append(crossing.flips)
            yield crossing


def _order(crossing: _Crossing) -> tuple[float, int, tuple[int, ...]]:
    return crossing.pvalue, len(crossing.values), crossing.values
