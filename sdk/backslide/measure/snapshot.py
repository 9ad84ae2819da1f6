"""One look inside the network, as numbers, and its compact form on disk.

What stays the same from look to look (names, depths, kinds) is a `Catalogue`, written once;
what changes is a `Snapshot`, which names its catalogue by digest. The encoding is plain numpy
buffers behind a fixed header: nothing is ever unpickled.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import HISTOGRAM_BINS, LAYERS_SCHEMA
from backslide.measure.batches.facts import Batch

STATISTICS: Final = (
    "mean",
    "std",
    "rms",
    "abs_max",
    "zero_fraction",
    "nonfinite_fraction",
    "saturated_fraction",
    "dead_fraction",
)
"""Columns of `Snapshot.stats`, in order."""

MAGIC: Final = b"BSN2"
HEADER: Final = struct.Struct("<4sI16sqdIIIIB")
"""Magic, bytes after the header, catalogue digest, step, wall time, tensors, bytes of scalars,
filled histogram bins, how many of them hold MANY or more, 1 if the elements of each tensor
follow."""

MANY: Final = 255
"""Counts from here on are written apart: most bins hold few."""


@dataclass(frozen=True)
class Catalogue:
    """The tensors that snapshots describe, one entry each.

    Attributes:
        names: module names for activations, parameter names for the other roles.
        depths: position of the module in the order in which modules ran.
        roles: values of `contract.Role`.
        kinds: class name of the module the tensor belongs to; "" when not known.
        counts: elements of the tensor when it was first seen.
    """

    names: tuple[str, ...]
    depths: tuple[int, ...]
    roles: tuple[str, ...]
    kinds: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raises ValueError when the columns differ in length."""
        if len({len(column) for column in vars(self).values()}) != 1:
            raise ValueError("the columns of a catalogue must have one length")

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that name this content."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """The same in every process, so that the digest is too."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote; raises ValueError or TypeError on anything else."""
        return cls(**{key: tuple(column) for key, column in json.loads(text).items()})


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Summaries of all watched tensors in one training step.

    Attributes:
        step: the training step.
        wall_time: epoch seconds.
        catalogue: what the rows are.
        stats: float32, shape (n, 8), columns as in `STATISTICS`; a row of NaN was not measured
            in this step.
        histogram: int32, shape (n, HISTOGRAM_BINS), bins of the contract.
        scalars: network-level figures by metric key.
        counts: int64, shape (n,): elements summarised, where they differ from the catalogue's
            (batches of varying size); otherwise None.
        batch: what the network was fed and answered; a record of its own on disk.
    """

    step: int
    wall_time: float
    catalogue: Catalogue
    stats: NDArray[np.float32]
    histogram: NDArray[np.int32]
    scalars: dict[str, float] = field(default_factory=dict)
    counts: NDArray[np.int64] | None = None
    batch: Batch | None = None

    def row(self, name: str, role: str) -> dict[str, float]:
        """Statistics of one tensor by name; raises KeyError when there is no such tensor."""
        for index, key in enumerate(
            zip(self.catalogue.names, self.catalogue.roles, strict=True)
        ):
            if key == (name, role):
                return dict(zip(STATISTICS, self.stats[index].tolist(), strict=True))
        raise KeyError(f"no {role} of {name!r} in this snapshot")


def encode(snapshot: Snapshot) -> bytes:
    """Packs a snapshot; of the histogram only the filled bins are kept.

    A frame is: header, statistics (float32), filled bins of each row (uint8), their numbers
    (uint8), their counts (uint8, at most MANY), those of MANY and more (uint32), elements of
    each tensor (int64, where they differ from the catalogue's), scalars (JSON). Little-endian.
    Frames may be concatenated.
    """
    histogram = snapshot.histogram.reshape(-1)
    places = np.flatnonzero(histogram)
    filled = histogram[places]
    rows, bins = np.divmod(places, HISTOGRAM_BINS)
    large = filled[filled >= MANY]
    scalars = json.dumps(snapshot.scalars).encode()
    tensors = len(snapshot.catalogue)
    parts = [
        snapshot.stats.astype("<f4").tobytes(),
        np.bincount(rows, minlength=tensors).astype("u1").tobytes(),
        bins.astype("u1").tobytes(),
        np.minimum(filled, MANY).astype("u1").tobytes(),
        large.astype("<u4").tobytes(),
        b"" if snapshot.counts is None else snapshot.counts.astype("<i8").tobytes(),
        scalars,
    ]
    body = b"".join(parts)
    header = HEADER.pack(
        MAGIC,
        len(body),
        bytes.fromhex(snapshot.catalogue.digest),
        snapshot.step,
        snapshot.wall_time,
        tensors,
        len(scalars),
        filled.size,
        large.size,
        snapshot.counts is not None,
    )
    return header + body


def decode(data: bytes, catalogues: Mapping[str, Catalogue]) -> pa.Table:
    """Unpacks one or more concatenated frames into a table of `contract.LAYERS_SCHEMA`.

    Rows that were not measured are left out.

    Raises:
        ValueError: the bytes are no whole number of frames, or do not fit their catalogue.
        KeyError: a frame names a catalogue that is not among `catalogues`.
    """
    tables = []
    offset = 0
    while offset < len(data):
        snapshot, offset = _read(data, offset, catalogues)
        tables.append(_table(snapshot))
    return pa.concat_tables(tables) if tables else LAYERS_SCHEMA.empty_table()


def _read(
    data: bytes, offset: int, catalogues: Mapping[str, Catalogue]
) -> tuple[Snapshot, int]:
    """The snapshot at `offset` and the offset of the next."""
    try:
        fields = HEADER.unpack_from(data, offset)
    except struct.error:
        raise ValueError("a snapshot is cut off in its header") from None
    magic, length, digest, step, wall_time, tensors, text, filled, large, counted = fields
    start, end = offset + HEADER.size, offset + HEADER.size + length
    if magic != MAGIC or end > len(data):
        raise ValueError("a snapshot is damaged or cut off")
    if length != tensors * (33 + 8 * bool(counted)) + filled * 2 + large * 4 + text:
        raise ValueError("a snapshot is damaged: its parts do not add up")
    catalogue = catalogues[digest.hex()]
    if len(catalogue) != tensors:
        raise ValueError("a snapshot does not fit its catalogue")

    def take(dtype: str, count: int) -> NDArray[np.generic]:
        nonlocal start
        part = np.frombuffer(data, np.dtype(dtype), count, start)
        start += part.nbytes
        return part

    stats = take("<f4", tensors * 8).reshape(tensors, 8).astype(np.float32)
    per_row, bins, values = take("u1", tensors), take("u1", filled), take("u1", filled)
    values = values.astype(np.int32)
    many = values == MANY
    if int(many.sum()) != large:
        raise ValueError("a snapshot is damaged: its histogram does not add up")
    values[many] = take("<u4", large)
    if int(per_row.sum()) != filled or (filled and int(bins.max()) >= HISTOGRAM_BINS):
        raise ValueError("a snapshot is damaged: its histogram does not add up")
    histogram = np.zeros((tensors, HISTOGRAM_BINS), np.int32)
    histogram[np.repeat(np.arange(tensors), per_row.astype(np.intp)), bins] = values
    counts = take("<i8", tensors).astype(np.int64) if counted else None
    scalars = json.loads(data[start:end])
    return Snapshot(step, wall_time, catalogue, stats, histogram, scalars, counts), end


def _table(snapshot: Snapshot) -> pa.Table:
    """Rows of the layers table, without those that were not measured."""
    catalogue = snapshot.catalogue
    measured = np.flatnonzero(~np.isnan(snapshot.stats[:, STATISTICS.index("zero_fraction")]))
    counts = np.asarray(catalogue.counts) if snapshot.counts is None else snapshot.counts
    offsets = np.arange(len(measured) + 1, dtype=np.int32) * HISTOGRAM_BINS
    columns = {
        "step": np.full(len(measured), snapshot.step),
        "wall_time": np.full(len(measured), snapshot.wall_time),
        "layer": [catalogue.names[row] for row in measured],
        "depth": [catalogue.depths[row] for row in measured],
        "role": [catalogue.roles[row] for row in measured],
        "count": counts[measured],
        "histogram": pa.ListArray.from_arrays(offsets, snapshot.histogram[measured].ravel()),
    } | {name: snapshot.stats[measured, column] for column, name in enumerate(STATISTICS)}
    return pa.table([columns[name] for name in LAYERS_SCHEMA.names], schema=LAYERS_SCHEMA)
