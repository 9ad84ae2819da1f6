"""What the host knows about the tensors of a step before their numbers arrive."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


class Entry(NamedTuple):
    """What is known on the host about one queued tensor.

    Attributes:
        key: the caller's name for the row that it adds to.
        elements: elements it stands for.
        reduced: elements the moments are taken over (fewer than `elements` for a sample).
        sampled: elements of the histogram; as many as `reduced` where the sample is the whole
            tensor, and the moments come from it.
        units: number of units, 0 when they are not told apart.
        both: whether units come with their smallest elements too, beside the largest.
        bounded: whether inactive means saturated instead of dead; the number says which.
    """

    key: int
    elements: int
    reduced: int
    sampled: int
    units: int
    both: bool
    bounded: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """What follows from a step's entries alone, and so is the same in most steps.

    Attributes:
        entries: what is known about each.
        sampled: elements of each entry's sample.
        ends: end of each entry's sample among all samples.
        large: entries whose sample is not the whole tensor.
        ranged: of these the ones whose range was reduced; that of others follows from units.
        whole: entries whose sample is the whole tensor.
        whole_elements: where their samples are.
        whole_starts: where each begins among those.
        spread: large entries whose range follows from units, by their place in `united`.
        united: entries with units.
        unit_starts: where the units of each begin among all units.
        both: where the units are that come with their smallest element.
        order: entries sorted by key.
        first: where each key begins in `order`.
        keys: the keys, ascending.
        count: elements by key.
        share: elements an entry stands for, for each one reduced.
        precision: by key, what share of a mean square is only rounding: the sums of large
            tensors come in float32.
    """

    entries: tuple[Entry, ...]
    sampled: NDArray[np.int64]
    ends: list[int]
    large: Places
    ranged: Places
    whole: Places
    whole_elements: Places
    whole_starts: Places
    spread: Places
    united: Places
    unit_starts: Places
    both: Places
    order: Places
    first: Places
    keys: NDArray[np.int64]
    count: NDArray[np.int64]
    share: NDArray[np.float64]
    precision: NDArray[np.float64]


@lru_cache(maxsize=8)
def frame(entries: tuple[Entry, ...]) -> Frame:
    """The frame of a step's entries."""
    table = np.array(entries, np.int64).T
    key, elements, reduced, sampled, units, both, bounded = table
    ends = np.cumsum(sampled)
    is_whole = sampled == reduced
    tells_range = (units > 0) & (bounded == 0)
    whole = np.flatnonzero(is_whole)
    united = np.flatnonzero(units)
    order = np.argsort(key, kind="stable")
    keys, first = np.unique(key[order], return_index=True)
    return Frame(
        entries=entries,
        sampled=sampled,
        ends=ends.tolist(),
        large=np.flatnonzero(~is_whole),
        ranged=np.flatnonzero(~is_whole & ~tells_range),
        whole=whole,
        whole_elements=np.flatnonzero(np.repeat(is_whole, sampled)),
        whole_starts=_starts(sampled[whole]),
        spread=np.flatnonzero((~is_whole & tells_range)[united]),
        united=united,
        unit_starts=_starts(units[united]),
        both=np.flatnonzero(np.repeat(both, units)),
        order=order,
        first=first,
        keys=keys,
        count=np.add.reduceat(elements[order], first),
        share=elements / reduced,
        precision=np.maximum.reduceat(np.where(is_whole, 1e-9, 1e-3)[order], first),
    )


def _starts(sizes: NDArray[np.int64]) -> Places:
    return np.cumsum(sizes) - sizes
