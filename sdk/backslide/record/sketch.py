"""A sketch of a data set: enough to tell whether two runs saw other inputs, and no more.

At most `SKETCH_ROWS` examples, each as at most `SKETCH_COLUMNS` sums of its numbers and never
more than half as many sums as numbers. That hides an example but does not encrypt it: who has a
guess at one can check it against its key, and numbers of which few values are possible may
follow from the sums.

Which examples are kept depends on a hash of each one's content (a bottom-k sample: Cohen and
Kaplan 2007, PODC): an example that is in two data sets is in both sketches, or lies beyond the
largest key of one, where the detector does not look. The sums depend on a number's position
alone: it enters each with `+1` or `-1`, after asinh, which makes ages and incomes comparable.
"""

import hashlib
import heapq
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import SKETCH_COLUMNS, SKETCH_LAYOUT, SKETCH_ROWS, sketch_schema

Array = NDArray[Any]
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

COORDINATES: Final = 16_384
"""Numbers of one example that are looked at; of more, evenly spread ones."""


def row_keys(name: str, rows: Array) -> Keys:
    """A hash of each row, shape (n,); the keys of several columns add up to the example's.

    Equal numbers have equal keys whatever their type: what counts is their float32 value.
    """
    if _is_text(rows):
        flat = rows.reshape(len(rows), -1)[:, :COORDINATES]
        texts = [str(value) for value in flat.flat]
        hashes = {text: _of_text(text) for text in set(texts)}
        words: Keys = np.array([hashes[t] for t in texts], np.uint64).reshape(flat.shape)
    else:
        numbers = _numbers(rows).astype(np.float32) + np.float32(0)  # one zero, not two
        words = numbers.view(np.uint32).astype(np.uint64)
    # Multilinear hashing (Lemire and Kaser 2014), then a mix, so that all bits are good.
    factors = _position_bits(name, words.shape[1]) | np.uint64(1)
    return _mixed(np.einsum("ij,j->i", words, factors))


def sketch(columns: Mapping[str, Array], keys: Keys) -> pa.Table | None:
    """The sketch of a data set; None when it holds too few numbers an example.

    Args:
        columns: arrays by name, one row an example.
        keys: of each example, shape (n,).
    """
    width = sums(columns)
    if width == 0:
        return None
    distinct, first = np.unique(keys, return_index=True)
    distinct, first = distinct[:SKETCH_ROWS], first[:SKETCH_ROWS]
    values = projected({name: column[first] for name, column in columns.items()}, width)
    return _table(distinct, values, layout(columns))


class ItemSketch:
    """The sketch of a data set that is read item by item."""

    def __init__(self) -> None:
        """Has read nothing yet."""
        self._layout: str | None = None
        self._width = 0
        self._kept: dict[int, Floats] = {}
        self._largest: list[int] = []  # a heap of their negatives

    def read(self, pieces: Mapping[str, Array]) -> None:
        """Takes the pieces of one item, without its target."""
        columns = {name: piece[np.newaxis] for name, piece in pieces.items()}
        if self._layout is None:
            self._layout, self._width = layout(columns), sums(columns)
        elif self._width and layout(columns) != self._layout:
            self._width = 0  # items of different shapes have no common positions
        if not self._width:
            return
        keys = [row_keys(name, column) for name, column in columns.items()]
        key = int(np.concatenate(keys).sum(dtype=np.uint64))
        full = len(self._kept) == SKETCH_ROWS
        if key in self._kept or (full and key > -self._largest[0]):
            return
        if full:
            del self._kept[-heapq.heappop(self._largest)]
        heapq.heappush(self._largest, -key)
        self._kept[key] = projected(columns, self._width)[0]

    def table(self) -> pa.Table | None:
        """As `sketch`."""
        if not (self._width and self._kept):
            return None
        keys = sorted(self._kept)
        values = np.stack([self._kept[key] for key in keys])
        return _table(np.array(keys, np.uint64), values, self._layout or "")


def sums(columns: Mapping[str, Array]) -> int:
    """How many sums are kept of an example: at most half as many as it has numbers."""
    return min(SKETCH_COLUMNS, sum(map(_size, columns.values())) // 2)


def projected(columns: Mapping[str, Array], width: int) -> Floats:
    """The sums of each row, shape (n, width); what is not finite counts as zero."""
    rows = len(next(iter(columns.values())))
    found: Floats = np.zeros((rows, width))
    for name, column in columns.items():
        if _is_text(column):
            # Each text is a direction of its own: the sums of its one-hot code.
            texts = column.reshape(rows, -1)[:, :COORDINATES]
            for place, bits in enumerate(_position_bits(name, texts.shape[1])):
                words = np.array([_of_text(text) for text in texts[:, place]], np.uint64)
                found += _signs(_mixed(words ^ bits), width)
            continue
        values = np.arcsinh(_numbers(column).astype(np.float64))
        values[~np.isfinite(values)] = 0.0
        found += values @ _position_signs(name, values.shape[1], width)
    found /= np.sqrt(sum(min(_size(column), COORDINATES) for column in columns.values()))
    return found


def layout(columns: Mapping[str, Array]) -> str:
    """Digest of names and shapes: sketches compare only where it is the same."""
    shapes = sorted((name, _is_text(c), *c.shape[1:]) for name, c in columns.items())
    return hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest()


def _table(keys: Keys, values: Floats, layout: str) -> pa.Table:
    halves = np.clip(values, -60_000, 60_000).astype(np.float16)
    schema = sketch_schema(values.shape[1]).with_metadata({SKETCH_LAYOUT: layout})
    return pa.table([pa.array(keys), *map(pa.array, halves.T)], schema=schema)


def _numbers(rows: Array) -> Array:
    """Rows of numbers, shape (n, m), without those beyond `COORDINATES`."""
    if rows.dtype.kind in "mM":
        rows = rows.astype(np.int64)
    elif rows.dtype.kind == "c":
        rows = np.stack([rows.real, rows.imag], axis=-1)
    flat = rows.reshape(len(rows), -1)
    if flat.shape[1] > COORDINATES:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, COORDINATES).astype(int)]
    return np.ascontiguousarray(flat)


def _size(column: Array) -> int:
    """Numbers of one example."""
    return int(np.prod(column.shape[1:], dtype=np.int64))


def _is_text(column: Array) -> bool:
    return column.dtype.kind not in "fiubcmM"


def _of_text(value: object) -> int:
    text = str(value).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _position_bits(name: str, count: int) -> Keys:
    """64 fixed random bits for each of the first `count` positions of a column."""
    return _mixed(np.arange(count, dtype=np.uint64) + np.uint64(_of_text(name) >> 1))


@lru_cache(maxsize=8)
def _position_signs(name: str, count: int, width: int) -> Floats:
    """Remembered, because a data set that is read by item asks for each item."""
    return _signs(_position_bits(name, count), width)


def _signs(bits: Keys, width: int) -> Floats:
    """+1 or -1 from each of the lowest bits, shape (n, width)."""
    chosen = bits[:, np.newaxis] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    return chosen.astype(np.float64) * 2.0 - 1.0


def _mixed(words: Keys) -> Keys:
    """SplitMix64 (Steele, Lea and Flood 2014, OOPSLA): every bit depends on all."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)
