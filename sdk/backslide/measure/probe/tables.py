"""From what was found to the tables of a probe."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import PROBE_SCHEMAS
from backslide.measure.probe.answers import Said
from backslide.measure.probe.code import Code
from backslide.measure.probe.concepts import Concepts
from backslide.measure.probe.groups import Groups
from backslide.measure.probe.layers import Layer
from backslide.measure.probe.readability import Readability
from backslide.measure.probe.signatures import Signatures

UNITS: Final = 8_192
"""Channels of all layers together whose signatures are kept."""

LARGEST_HALF: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found in one layer.

    Attributes:
        layer: which.
        positions: that each channel was evaluated at.
            code, signatures, readability, groups: of its outputs.
        activity: of each group on each example, shape (examples, groups).
        maps: the same on a grid, shape (examples, groups, 16); None where it is no image.
        attribution: of each group to each class, shape (groups, classes); None if not known.
    """

    layer: Layer
    positions: int
    code: Code
    signatures: Signatures
    readability: Readability
    groups: Groups
    activity: NDArray[np.floating]
    maps: NDArray[np.uint8] | None
    attribution: NDArray[np.floating] | None = None


def layers_table(seen: Sequence[Seen]) -> pa.Table:
    """By `PROBE_SCHEMAS["layers"]`."""
    return pa.Table.from_pylist(
        [
            {
                "layer": each.layer.name,
                "kind": each.layer.kind,
                "depth": each.layer.depth,
                "units": len(each.signatures.live),
                "positions": each.positions,
                "signed": each.signatures.signed,
                "gram_norm": each.code.gram_norm,
                "gram_trace": each.code.gram_trace,
                "spectrum": each.code.spectrum.astype(np.float32),
                "code_scale": each.code.scale,
                "weights": each.layer.weights,
            }
            for each in seen
        ],
        PROBE_SCHEMAS["layers"],
    )


def codes_table(seen: Sequence[Seen]) -> pa.Table:
    """By `PROBE_SCHEMAS["codes"]`."""
    rows = len(seen[0].code.coordinates) if seen else 0
    codes = [(each.code.coordinates / each.code.scale).astype(np.float16) for each in seen]
    return pa.table(
        [
            _repeated([each.layer.name for each in seen], [rows] * len(seen)),
            pa.array(np.tile(np.arange(rows, dtype=np.int32), len(seen))),
            _lists(codes, pa.float16()),
        ],
        schema=PROBE_SCHEMAS["codes"],
    )


def remainders_table(seen: Sequence[Seen]) -> pa.Table:
    """By `PROBE_SCHEMAS["remainders"]`."""
    sums = [each.code.remainder.T for each in seen]
    scales = [_scales(each) for each in sums]
    counts = [len(each) for each in sums]
    numbers = [np.arange(count, dtype=np.int32) for count in counts]
    return pa.table(
        [
            _repeated([each.layer.name for each in seen], counts),
            pa.array(np.concatenate([np.zeros(0, np.int32), *numbers])),
            pa.array(np.concatenate([np.zeros(0, np.float32), *scales])),
            _lists(
                [
                    np.rint(each / scale[:, None]).astype(np.int8)
                    for each, scale in zip(sums, scales, strict=True)
                ],
                pa.int8(),
            ),
        ],
        schema=PROBE_SCHEMAS["remainders"],
    )


def units_table(
    known: Sequence[tuple[Layer, Signatures]],
) -> tuple[pa.Table, list[str]]:
    """By `PROBE_SCHEMAS["units"]`, and what was left out.

    Args:
        known: by layer or branch, in the order in which they ran.
    """
    seen = [each for _, each in known]
    counts = [len(each.live) for each in seen]
    most = _most(counts, UNITS)
    chosen = [
        np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) for n in counts
    ]
    table = pa.table(
        [
            _repeated([layer.name for layer, _ in known], [len(each) for each in chosen]),
            pa.array(np.concatenate([np.zeros(0, int), *chosen]).astype(np.int32)),
            pa.array(_joined(seen, chosen, lambda each: each.live, bool)),
            pa.array(_joined(seen, chosen, lambda each: each.scale, np.float32)),
            _lists(
                [each.values[at] for each, at in zip(seen, chosen, strict=True)],
                pa.int8(),
            ),
        ],
        schema=PROBE_SCHEMAS["units"],
    )
    if max(counts, default=0) <= most:
        return table, []
    return table, [
        f"of layers with more than {most} channels, {most} have their signatures kept"
    ]


def groups_table(
    seen: Sequence[Seen], mapped: Collection[Layer], weighed: Collection[Layer]
) -> pa.Table:
    """By `PROBE_SCHEMAS["groups"]`.

    Args:
        seen: by layer.
        mapped: layers of which maps are kept, where there are any.
        weighed: layers of which weights are kept.
    """
    rows: list[dict[str, Any]] = []
    for each in seen:
        maps = each.maps if each.layer in mapped else None
        weights = rounded(each.groups.weights) if each.layer in weighed else None
        rows += [
            {
                "layer": each.layer.name,
                "group": group,
                "share": share,
                "stability": each.groups.stability[group],
                "weights": [] if weights is None else weights[group],
                "activity": each.activity[:, group].clip(None, LARGEST_HALF).astype(np.float16),
                "maps": [] if maps is None else maps[:, group].ravel(),
                "attribution": [] if each.attribution is None else each.attribution[group],
            }
            for group, share in enumerate(each.groups.share)
        ]
    return pa.Table.from_pylist(rows, PROBE_SCHEMAS["groups"])


def rounded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Numbers of eleven bits, which take half the room once compressed."""
    mantissa, exponent = np.frexp(values.astype(np.float32))
    short = np.ldexp(np.rint(mantissa * 2048) / 2048, exponent)
    return np.asarray(short, np.float32)


def readability_table(seen: Sequence[Seen], names: Sequence[str], step: int) -> pa.Table:
    """By `PROBE_SCHEMAS["readability"]`."""
    rows: list[dict[str, Any]] = []
    for each in seen:
        found = each.readability
        row = {"step": step, "layer": each.layer.name}
        rows += [
            row | {"concept": name, "r2": r2, "accuracy": np.nan}
            for name, r2 in zip(names, found.r2.tolist(), strict=True)
        ]
        if not np.isnan(found.accuracy):
            rows.append(row | {"concept": "", "r2": np.nan, "accuracy": found.accuracy})
    return pa.Table.from_pylist(rows, PROBE_SCHEMAS["readability"])


def concepts_table(asked: Concepts) -> pa.Table:
    """By `PROBE_SCHEMAS["concepts"]`."""
    columns = asked.values.T.astype(np.float32)
    return pa.table(
        [list(asked.names), list(asked.kinds), [each.tolist() for each in columns]],
        schema=PROBE_SCHEMAS["concepts"],
    )


def examples_table(
    ids: Sequence[str], asked: Concepts, answers: Said, pictures: Sequence[bytes] | None
) -> pa.Table:
    """By `PROBE_SCHEMAS["examples"]`.

    Args:
        ids: one an example.
        asked: with the targets.
        answers: the model's.
        pictures: one an example; None without any.
    """
    rows = len(ids)
    nothing = [None] * rows
    truth = asked.targets
    told = truth is not None and truth.ndim == 1
    return pa.table(
        [
            list(range(rows)),
            ids,
            [str(value) for value in truth.tolist()] if truth is not None and told else nothing,
            answers.predictions or nothing,
            _finite(answers.scores, rows),
            _finite(answers.losses, rows),
            pictures or nothing,
        ],
        schema=PROBE_SCHEMAS["examples"],
    )


def _finite(values: NDArray[np.floating] | None, rows: int) -> list[float | None]:
    if values is None:
        return [None] * rows
    return [float(value) if np.isfinite(value) else None for value in values]


def _scales(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to divide each row by so that 8 bits hold it."""
    largest = np.abs(rows).max(1, initial=0.0)
    return np.asarray(np.where(largest > 0, largest, 1.0) / 127, np.float32)


def _most(counts: Sequence[int], room: int) -> int:
    """The largest number of entries a layer for which all fit into the room."""
    most = max(counts, default=0)
    left, layers = room, len(counts)
    for count in sorted(counts):
        if count * layers > left:
            return left // layers
        left, layers = left - count, layers - 1
    return most


def _joined(
    seen: Sequence[Signatures],
    chosen: Sequence[NDArray[np.intp]],
    column: Callable[[Signatures], NDArray[Any]],
    dtype: type,
) -> NDArray[Any]:
    parts = [column(each)[at] for each, at in zip(seen, chosen, strict=True)]
    return np.concatenate([np.zeros(0, dtype), *parts])


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.Array:
    return pa.array(
        [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    )


def _lists(blocks: Sequence[NDArray[Any]], kind: pa.DataType) -> pa.Array:
    """A list a row of all blocks, each of shape (rows, length)."""
    lengths = [block.shape[1] for block in blocks for _ in range(len(block))]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32)
    flat = [block.ravel() for block in blocks]
    values = np.concatenate([np.zeros(0, kind.to_pandas_dtype()), *flat])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind))
