"""Which examples two runs share, and on which of them they disagree."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backslide_detector.evidence import Ints, Predictions


@dataclass(frozen=True)
class Pairing:
    """The common examples of two sets of predictions.

    Attributes:
        new_wrong, old_wrong: outcome of each common example, shape (n,), bool.
        rows: where the common examples lie in the new and in the old predictions, shape (n,).
        relabelled: examples present in both but with different targets; left out, because the
            two runs were not asked the same question.
    """

    new_wrong: NDArray[np.bool_]
    old_wrong: NDArray[np.bool_]
    rows: tuple[Ints, Ints]
    relabelled: int

    def __len__(self) -> int:
        """Number of common examples."""
        return len(self.new_wrong)

    @cached_property
    def broken(self) -> int:
        """Examples newly wrong."""
        return int(np.count_nonzero(self.new_wrong & ~self.old_wrong))

    @cached_property
    def fixed(self) -> int:
        """Examples newly right."""
        return int(np.count_nonzero(self.old_wrong & ~self.new_wrong))

    @cached_property
    def outcome(self) -> NDArray[np.int8]:
        """Of each example: 0 right in both, 1 broken, 2 fixed, 3 wrong in both; shape (n,)."""
        return np.asarray(self.new_wrong + 2 * self.old_wrong.astype(np.int8), dtype=np.int8)

    @property
    def new_error(self) -> float:
        """Error rate of the new model on the common examples."""
        return float(self.new_wrong.mean())

    @property
    def old_error(self) -> float:
        """Error rate of the old model on the common examples."""
        return float(self.old_wrong.mean())


def pair(new: Predictions, old: Predictions) -> Pairing:
    """Match examples by id, whatever their order; of repeated ids the first counts."""
    ours, new_rows = _first_rows(new.ids)
    if len(new) == len(old) and np.array_equal(new.ids, old.ids):
        old_rows = new_rows
    else:
        theirs, old_first = _first_rows(old.ids)
        found = theirs.get_indexer(ours)
        common = found >= 0
        new_rows, old_rows = new_rows[common], old_first[found[common]]

    same = np.asarray(new.targets[new_rows] == old.targets[old_rows], dtype=np.bool_)
    new_rows, old_rows = new_rows[same], old_rows[same]
    return Pairing(
        new_wrong=~new.correct[new_rows],
        old_wrong=~old.correct[old_rows],
        rows=(new_rows, old_rows),
        relabelled=int(len(same) - np.count_nonzero(same)),
    )


def _first_rows(ids: NDArray[np.object_]) -> tuple[pd.Index, Ints]:
    """Hashes of the ids, each once, and the row at which each comes first.

    Python keeps the 64-bit hash inside the string, and integers join several times faster. Two
    ids of one hash come up once in some ten million test sets of a million examples.
    """
    hashes = pd.Index(np.fromiter(map(hash, ids), np.int64, len(ids)))
    if hashes.is_unique:
        return hashes, np.arange(len(ids), dtype=np.int64)
    first = np.flatnonzero(~hashes.duplicated()).astype(np.int64)
    return hashes[first], first
