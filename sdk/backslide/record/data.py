"""The identity and a summary of a data set, from its full content.

Cost: seconds a gigabyte for arrays and tensors, on the calling thread. A data set that can only
be read item by item is read once, at `MAX_ITEMS` evenly spread items at most, and its summary
says how many.
"""

import hashlib
import json
import math
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.record.nearest import Floats, Nearest, nearest, numbers, spread_out
from backslide.record.sketch import ItemSketch, Keys, row_keys, sketch
from backslide.record.text import storable

MAX_ITEMS: Final = 100_000
MAX_FEATURES: Final = 64
MAX_CLASSES: Final = 1_000
CHUNK_ROWS_BYTES: Final = 16 << 20

Array = NDArray[Any]


@dataclass(frozen=True)
class Summary:
    """What a run says about one of its data sets; the JSON at `backslide/data/<name>.json`.

    Attributes:
        digest: 32 hexadecimal digits over the content of data and targets, types and shapes.
        rows: number of examples, None when the data set does not say.
        shape: of the data as an array; None for other things.
        class_counts: examples by label, for integer, text and boolean targets, and for floats
            that are all 0 or 1.
        features: mean, std, min, max and number of missing values, by feature for up to 64
            features, under "all" otherwise; of float targets under "(target)".
        digested_rows: how many rows the digest covers; all, unless the set is read by item.
        nearest: what its examples' neighbours tell of their targets; None where nothing does.
        sketch: random sums of a few examples, a file of its own; None where there is none.
    """

    name: str
    digest: str
    version: str | None
    rows: int | None
    shape: tuple[int, ...] | None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    digested_rows: int | None = None
    nearest: Nearest | None = None
    sketch: pa.Table | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> bytes:
        """Strict JSON of all but the sketch."""
        said = {key: value for key, value in vars(self).items() if key != "sketch"}
        said["nearest"] = self.nearest and vars(self.nearest)
        return json.dumps(said, allow_nan=False).encode()

    def dataset(self) -> dict[str, Any]:
        """The same as MLflow's dataset input takes it."""
        source = {"name": self.name, "version": self.version}
        return {
            "name": storable(self.name)[:500],
            "digest": self.digest,
            "source_type": "backslide",
            "source": json.dumps(source),
            "schema": None,
            "profile": json.dumps({"num_rows": self.rows}),
        }


def summarise(
    name: str, data: object, targets: object = None, *, version: str | None = None
) -> Summary:
    """Digests and describes a data set.

    Args:
        name: its part in the run.
        data: numpy array, torch tensor, data frame, sequence of numbers, torch data set or
            loader, or a tuple or mapping of these with one row an example.
        targets: labels or values, one an example.
        version: the user's own name for this state of the data.

    Raises:
        TypeError: the data can neither be taken as an array nor read by index.
        ValueError: there is not one target an example.
    """
    hashed = hashlib.blake2b(digest_size=16)
    data = _unwrapped(data)
    columns = _columns(data)
    covered: int | None
    if columns is None:
        with random_state_kept():
            columns, sketched, seen = _read_items(data, hashed)
        rows = len(data)  # type: ignore[arg-type]  # _read_items has asked for it
        covered = min(rows, MAX_ITEMS)
        shape = None
    else:
        sketched = _read_columns(columns, hashed)
        lengths = [len(column) for column in columns.values()]
        rows = covered = lengths[0] if lengths else 0
        seen = _seen(columns) if set(lengths) == {rows} else None
        only = next(iter(columns.values())) if len(columns) == 1 else None
        shape = tuple(only.shape) if only is not None else (rows, len(columns))
    if targets is None:
        labels = columns.pop("(target)", None)
    else:
        labels = to_array(targets)
        if labels.ndim == 0 or len(labels) != rows:
            count = "no list of" if labels.ndim == 0 else f"{len(labels):,}"
            raise ValueError(f"{rows:,} examples, but {count} targets")
        _digest(hashed, "(target)", labels)
    counts = class_counts(labels) if labels is not None else {}
    features = _features(columns)
    if labels is not None and labels.dtype.kind == "f":
        features["(target)"] = _moments(labels)
    known = None
    if labels is not None and seen is not None and labels.size == covered:
        picked = labels.reshape(-1)[spread_out(covered)]
        known = nearest(seen, picked, classes=bool(counts))
    digest = hashed.hexdigest()
    return Summary(
        name, digest, version, rows, shape, counts, features, covered, known, sketched
    )


def to_array(values: object) -> Array:
    """A numpy view of a tensor, series, array or sequence; bfloat16 becomes float32."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    if isinstance(values, tensor):
        host = values.detach().cpu()
        return np.asarray(host.float() if str(host.dtype) == "torch.bfloat16" else host)
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy())
    return np.asarray(values)


def class_counts(labels: Array) -> dict[str, int]:
    """Examples by label; empty when the labels are numbers or too many to be classes.

    Floats are labels where each is 0 or 1, and both occur: as a binary cross-entropy wants it.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1:
        return {}
    if flat.dtype.kind == "f":
        if not _binary(flat):
            return {}
        flat = flat.astype(np.int64)
    flat = flat.astype(str) if flat.dtype.kind == "O" else flat
    values, counts = np.unique(flat, return_counts=True)
    if len(values) > MAX_CLASSES:
        return {}
    return {storable(value): int(count) for value, count in zip(values, counts, strict=True)}


def _binary(labels: Array) -> bool:
    """Is each of these floats 0 or 1, with some of both?"""
    ones = labels == 1
    return bool(ones.any() and (labels == 0).any() and (ones | (labels == 0)).all())


def _unwrapped(data: object) -> object:
    """The data set behind a loader, and the tensors behind a TensorDataset."""
    dataset = getattr(data, "dataset", None)
    if dataset is not None and hasattr(data, "batch_size"):
        data = dataset
    tensors = getattr(data, "tensors", None)
    return tensors if isinstance(tensors, tuple) else data


def _columns(data: object) -> dict[str, Array] | None:
    """Arrays by name; None for what must be read item by item."""
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):  # a data frame
        return {str(key): to_array(data[key]) for key in data.columns}  # type: ignore[index]  # duck
    if isinstance(data, Mapping):
        return {str(key): to_array(value) for key, value in data.items()}
    if isinstance(data, tuple) and data and all(hasattr(item, "shape") for item in data):
        named = {f"input{index}": to_array(item) for index, item in enumerate(data)}
        if len(named) > 1:  # by convention the last one is the target
            named["(target)"] = named.popitem()[1]
        return named
    if hasattr(data, "shape") or isinstance(data, list | tuple):
        return {"data": to_array(data)}
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return None
    raise TypeError(
        f"log_data() cannot read a {type(data).__name__}; give arrays or a data set"
    )


def _read_columns(columns: Mapping[str, Array], hashed: "hashlib.blake2b") -> pa.Table | None:
    """Digests all columns and sketches the inputs among them, in one pass."""
    inputs = {key: column for key, column in columns.items() if key != "(target)"}
    lengths = {len(column) if column.ndim else None for column in inputs.values()}
    rows = lengths.pop() if len(lengths) == 1 else None
    keys = np.zeros(rows or 0, np.uint64)
    # As items are: what an example is does not depend on what holds it.
    named = {_place(key): column for key, column in inputs.items()}
    for key, column in columns.items():
        _digest(hashed, key, column, keys if rows and key in inputs else None)
    return sketch(named, keys) if rows else None


def _place(key: str) -> str:
    """The position of an input that has no name of its own."""
    return "0" if key == "data" else key.removeprefix("input")


def _digest(
    hashed: "hashlib.blake2b", key: str, column: Array, keys: Keys | None = None
) -> None:
    """Adds a column to the digest, and to the keys of its rows where they are wanted."""
    hashed.update(f"{key}|{column.dtype.str}|{column.shape}|".encode())
    rows = max(1, CHUNK_ROWS_BYTES // max(1, column[:1].nbytes))
    for start in range(0, len(column), rows) if column.ndim else ():
        chunk = column[start : start + rows]
        if chunk.dtype.kind in "OSUT":
            for value in chunk.ravel():
                text = str(value).encode(errors="surrogatepass")
                hashed.update(len(text).to_bytes(8, "little") + text)
        else:
            hashed.update(np.ascontiguousarray(chunk).view(np.uint8).data)
        if keys is not None:
            keys[start : start + len(chunk)] += row_keys(_place(key), chunk)


def _read_items(
    data: Any,  # noqa: ANN401  # duck
    hashed: "hashlib.blake2b",
) -> tuple[dict[str, Array], pa.Table | None, Floats | None]:
    """Digests items one by one.

    Returns:
        Targets, if items end in one number; a sketch; the numbers of some, as `_seen`.
    """
    rows = len(data)
    chosen = spread_out(rows, MAX_ITEMS)
    labels, sketched, seen = [], ItemSketch(), []
    picked = set(chosen[spread_out(len(chosen))].tolist())
    for index in chosen.tolist():
        item = data[index]
        pieces = [to_array(p) for p in (item if isinstance(item, tuple | list) else (item,))]
        for place, array in enumerate(pieces):
            _digest(hashed, str(place), array.reshape(1) if array.ndim == 0 else array)
        inputs = pieces[:-1] if len(pieces) > 1 else pieces
        named = {str(place): array for place, array in enumerate(inputs)}
        sketched.read(named)
        if index in picked:
            seen.append(numbers({key: array[np.newaxis] for key, array in named.items()}))
        if len(pieces) > 1 and pieces[-1].size == 1 and pieces[-1].ndim < 2:
            labels.append(pieces[-1].item())
    targets = {"(target)": np.asarray(labels)} if len(labels) == len(chosen) > 0 else {}
    told = [row for row in seen if row is not None]
    alike = len(told) == len(seen) > 0 and len({row.shape for row in told}) == 1
    return targets, sketched.table(), np.concatenate(told) if alike else None


def _seen(columns: Mapping[str, Array]) -> Floats | None:
    """The numbers of evenly spread examples, without their targets."""
    return numbers(
        {
            key: column[spread_out(len(column))]
            for key, column in columns.items()
            if key != "(target)"
        }
    )


def _features(columns: Mapping[str, Array]) -> dict[str, Mapping[str, float | None]]:
    """Summaries of the numeric columns."""
    flat: dict[str, Array] = {}
    for key, column in columns.items():
        if column.dtype.kind not in "fiub":
            continue
        if column.ndim == 2 and column.shape[1] <= MAX_FEATURES:
            prefix = "" if len(columns) == 1 else f"{key}."
            flat |= {f"{prefix}{index}": column[:, index] for index in range(column.shape[1])}
        else:
            flat["all" if len(columns) == 1 else key] = column
    return {key: _moments(flat[key]) for key in list(flat)[:MAX_FEATURES]}


def _moments(values: Array) -> dict[str, float | None]:
    """Over the finite values, in chunks, so that no second copy of the data is made."""
    count, total, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    shift = None
    rows = max(1, CHUNK_ROWS_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        chunk = values[start : start + rows].astype(np.float64).ravel()
        chunk = chunk[np.isfinite(chunk)]
        if not len(chunk):
            continue
        shift = float(chunk.mean()) if shift is None else shift  # against cancellation
        count += len(chunk)
        total += float((chunk - shift).sum())
        squares += float(np.square(chunk - shift).sum())
        low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    missing = float(values.size - count)
    if shift is None:
        return {"mean": None, "std": None, "min": None, "max": None, "missing": missing}
    offset = total / count
    return {
        "mean": shift + offset,
        "std": math.sqrt(max(0.0, squares / count - offset * offset)),
        "min": low,
        "max": high,
        "missing": missing,
    }


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leaves the random states of Python, numpy and torch as they were found."""
    torch = sys.modules.get("torch")
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what users seed
    host = torch.get_rng_state() if torch else None
    cuda = torch is not None and torch.cuda.is_initialized()
    devices = torch.cuda.get_rng_state_all() if torch is not None and cuda else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002  # the same
        if torch is not None:
            torch.set_rng_state(host)
            if devices is not None:
                torch.cuda.set_rng_state_all(devices)
