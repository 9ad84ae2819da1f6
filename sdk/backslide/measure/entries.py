"""What the host knows about the tensors of a step before their numbers arrive."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Entry(NamedTuple):
    """What is known on the host about one queued tensor.

    Attributes:
        key: the caller's name for the row that it adds to.
        elements: elements it stands for.
        reduced: elements the moments are taken over (fewer than `elements` for a sample).
        sampled: elements of the histogram; as many as `reduced` where the sample is the whole
            tensor, and the moments come from it.
        units: number of units, 0 when they are not told apart.
        vectors: numbers a unit has: its largest element, or its largest and smallest.
        bounded: whether inactive means saturated instead of dead; the number says which.
    """

    key: int
    elements: int
    reduced: int
    sampled: int
    units: int
    vectors: int
    bounded: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """What follows from a step's entries alone, and so is the same in most steps.

    Attributes:
        ends: end of each entry's sample among all samples.
        whole: entries whose sample is the whole tensor.
        whole_elements: where their samples are; a slice when they are next to each other.
        whole_starts: where each begins among those.
        large: the other entries.
        ranged: of these the ones whose range was reduced; that of the others follows from units.
        units: start of each entry's unit numbers, by entry, where it has units.
        order: entries sorted by key, and where each key begins.
        keys: the keys, ascending.
        count: elements by key.
        share: elements an entry stands for, for each one reduced.
    """

    ends: list[int]
    whole: NDArray[np.intp]
    whole_elements: NDArray[np.intp]
    whole_starts: NDArray[np.intp]
    large: NDArray[np.intp]
    ranged: NDArray[np.intp]
    units: dict[int, int]
    order: NDArray[np.intp]
    first: NDArray[np.intp]
    keys: NDArray[np.int64]
    count: NDArray[np.int64]
    share: NDArray[np.float64]


@lru_cache(maxsize=8)
def frame(entries: tuple[Entry, ...]) -> Frame:
    """The frame of a step's entries."""
    ends = list(accumulate(entry.sampled for entry in entries))
    is_whole = np.array([entry.sampled == entry.reduced for entry in entries])
    reduced_range = np.array([entry.bounded or not entry.units for entry in entries])
    whole = np.flatnonzero(is_whole)
    sizes = [entries[index].sampled for index in whole]
    places = [np.arange(ends[index] - entries[index].sampled, ends[index]) for index in whole]
    units, start = {}, 0
    for index, entry in enumerate(entries):
        if entry.units:
            units[index] = start
            start += entry.units * entry.vectors
    names = np.array([entry.key for entry in entries], np.int64)
    order = np.argsort(names, kind="stable")
    keys, first = np.unique(names[order], return_index=True)
    elements = np.array([entry.elements for entry in entries], np.int64)
    return Frame(
        ends,
        whole,
        np.concatenate(places) if places else np.empty(0, np.intp),
        np.cumsum([0, *sizes[:-1]]) if sizes else np.empty(0, np.intp),
        np.flatnonzero(~is_whole),
        np.flatnonzero(~is_whole & reduced_range),
        units,
        order,
        first,
        keys,
        np.add.reduceat(elements[order], first),
        elements / np.array([entry.reduced for entry in entries]),
    )
