"""Slices that nobody named: crossings of columns, found on one half, confirmed on the other.

The library sliceline was tried for the search. It ranks slices by their mean error, where the
question here is where two models changed otherwise than elsewhere, and it takes seconds where a
verdict has milliseconds. Examples on which the two models disagree are few and all looked at;
how many examples lie in a crossing is estimated from a sample, and counted for the few slices
that go to confirmation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backslide_detector.evidence import Floats, Ints
from backslide_detector.retrain.groups import Column, GroupChange, Tally, compared
from backslide_detector.retrain.pairing import Pairing
from backslide_detector.stats.changes_apart import changes_apart_pvalue

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
SAMPLE: Final = 100_000
"""Examples that stand for all, at most: hashing ids takes time."""
SEARCHED: Final = 10_000
"""Of them, those by which the search estimates how many examples lie in a crossing."""


@dataclass(frozen=True, slots=True)
class _Value:
    """One value of one column."""

    column: str
    code: int


@dataclass(frozen=True, slots=True)
class _Half:
    """The searched half, as far as the search looks at it.

    Attributes:
        flips: which of the searched flips has which value, shape (values, flips).
        broken: which of them are newly wrong, shape (flips,).
        sample: which of the sampled examples has which value, shape (values, examples).
        scale: searched examples that a sampled one stands for.
    """

    flips: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    sample: NDArray[np.bool_]
    scale: float


@dataclass(frozen=True, slots=True)
class _Crossing:
    """Values of different columns.

    Attributes:
        values: their indices, ascending.
        pvalue: of "it changed as all else did", in the searched half.
        flips, sample: which of the searched flips and sampled examples lie in it.
    """

    values: tuple[int, ...]
    pvalue: float
    flips: NDArray[np.bool_]
    sample: NDArray[np.bool_]


def discover_slices(
    columns: Mapping[str, Column], ids: NDArray[np.object_], pairing: Pairing
) -> tuple[GroupChange, ...]:
    """Crossings of two or three columns that changed, and otherwise than all other examples.

    A slice that got worse because everything did is no discovery. The halves are split by a
    hash of the ids, never by order, so that they are the same in every retrain. All numbers are
    of the held half alone; the half that suggested a slice is no evidence for it. The p-value
    of a slice is the larger one of both claims, Holm-adjusted over the slices that were held to
    them.

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
    sample = np.arange(0, len(pairing), len(pairing) // SAMPLE + 1)
    kept = _held(ids[sample])
    values, half = _searched(columns, searched, sample[~kept], pairing)
    rows: list[Tally] = []
    surely: list[float] = []
    for crossing in _distinct(_search(values, half)):
        parts = sorted((values[i] for i in crossing.values), key=lambda part: part.column)
        inside = np.all([columns[part.column].codes == part.code for part in parts], axis=0)
        examples = np.flatnonzero(inside)
        held = _held(ids[examples])
        if min(np.count_nonzero(held), np.count_nonzero(~held)) < FEWEST:
            continue
        counts = np.bincount(pairing.outcome[examples[held]], minlength=4)
        outside = sample[kept & ~inside[sample]]
        surely.append(_as_elsewhere(counts, np.bincount(pairing.outcome[outside], minlength=4)))
        rows.append(
            Tally(
                " & ".join(part.column for part in parts),
                " & ".join(columns[part.column].names[part.code] for part in parts),
                counts,
            )
        )
        if len(rows) == CANDIDATES:
            break
    return compared(rows, at_least=surely)


def _as_elsewhere(inside: Ints, outside: Ints) -> float:
    """P-value of "it changed as all other examples did", from the outcomes on both sides."""
    here, there = ((part[1], part[2], part.sum()) for part in (inside, outside))
    return float(changes_apart_pvalue(here, there))


def _held(ids: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which examples belong to the half that is held back."""
    return np.asarray(pd.util.hash_array(ids, categorize=False) % 2 == 1, dtype=np.bool_)


def _searched(
    columns: Mapping[str, Column],
    searched: NDArray[np.intp],
    sample: NDArray[np.intp],
    pairing: Pairing,
) -> tuple[list[_Value], _Half]:
    """The commonest values among the searched flips, and who has which."""
    sample = sample[:: len(sample) // SEARCHED + 1]
    counted: list[tuple[int, _Value]] = []
    for name, column in columns.items():
        codes = column.codes[searched]
        counts = np.bincount(codes[codes >= 0], minlength=len(column.names))
        counted += [(int(counts[i]), _Value(name, int(i))) for i in np.flatnonzero(counts)]
    counted.sort(key=lambda pair: (-pair[0], pair[1].column, pair[1].code))
    values = [value for _, value in counted[:MOST_VALUES]]

    def members(rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        who = [columns[value.column].codes[rows] == value.code for value in values]
        return np.asarray(who, dtype=np.bool_).reshape(len(values), len(rows))

    broken = pairing.outcome[searched] == 1
    scale = len(pairing) / 2 / max(len(sample), 1)
    half = _Half(members(searched), broken, members(sample), scale)
    return values, half


def _search(values: Sequence[_Value], half: _Half) -> list[_Crossing]:
    """Crossings at least as clear as each of their parts, clearest first."""
    names = np.array([value.column for value in values])
    everything = np.ones((1, half.flips.shape[1])), np.ones((1, half.sample.shape[1]))
    alone = _unlike_all_else(half, *everything)[0]
    level = [
        _Crossing((i,), float(alone[i]), half.flips[i], half.sample[i])
        for i in range(len(values))
    ]
    found: list[_Crossing] = []
    for _ in range(1, MOST_LEVELS):
        pvalues = _unlike_all_else(
            half,
            np.array([crossing.flips for crossing in level], dtype=np.float32),
            np.array([crossing.sample for crossing in level], dtype=np.float32),
        )
        clearer = pvalues <= np.minimum(
            np.array([crossing.pvalue for crossing in level])[:, None], alone
        )
        for i, crossing in enumerate(level):
            clearer[i] &= ~np.isin(names, names[list(crossing.values)])
            clearer[i, : max(crossing.values)] = False  # each combination once
        clearer &= pvalues < 1
        level = [
            _Crossing(
                (*level[i].values, j),
                float(pvalues[i, j]),
                level[i].flips & half.flips[j],
                level[i].sample & half.sample[j],
            )
            for i, j in np.argwhere(clearer).tolist()
        ]
        level = sorted(level, key=_order)[: BEAM * CANDIDATES]
        found += level
        level = level[:BEAM]
        if not level:
            break
    return sorted(found, key=_order)


def _unlike_all_else(half: _Half, flips: NDArray[Any], sample: NDArray[Any]) -> Floats:
    """P-values of each row crossed with each value, against all outside; shape (k, values).

    1 where no flips lie: what did not change at all is no finding.
    """
    weights = half.flips.astype(np.float32).T
    worse = np.rint((flips * half.broken) @ weights)
    better = np.rint((flips * ~half.broken) @ weights)
    size = half.scale * (sample @ half.sample.astype(np.float32).T)
    size = np.maximum(size, worse + better)  # a sample may miss a slice that flips lie in
    broken, total = int(half.broken.sum()), half.scale * half.sample.shape[1]
    rest_worse, rest_better = broken - worse, len(half.broken) - broken - better
    rest = np.maximum(total - size, rest_worse + rest_better)
    pvalues = changes_apart_pvalue((worse, better, size), (rest_worse, rest_better, rest))
    return np.where(worse + better > 0, pvalues, 1.0)


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
