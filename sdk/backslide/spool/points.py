"""The scalars of one step as they lie on disk.

Written in every step, between the kernels of a network, where nothing of Python is in the
caches: spelling a number out takes longer there than all the rest. So a point is a few bytes
of packed numbers, and its keys.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from backslide.spool.frames import HEADER, MAGIC, Kind, begun

MARK: Final = 1
"""The first byte; a point that begins with a brace is JSON of the same fields."""

_HEADER: Final = struct.Struct("<BHqq")
"""Mark, number of values, step, epoch milliseconds; then values (float64), keys (JSON)."""

_CHECKSUM: Final = struct.Struct("<I")
"""Ends the header of a frame."""


class Form:
    """Points of the same keys, which are written the same way.

    What whole records are made of is there for whoever cannot afford to call for it.

    Attributes:
        count: values of a point.
        keys: as they lie on disk.
        point: packs mark, count, step, time, values and keys.
        begun: checksum of what comes before them.
        head: the frame up to its checksum.
        frame: packs head, checksum and point.
    """

    __slots__ = ("begun", "count", "frame", "head", "keys", "point")

    def __init__(self, keys: Iterable[str]) -> None:
        """Takes the keys in the order of the values."""
        names = list(keys)
        self.count = len(names)
        self.keys = json.dumps(names).encode()
        layout = struct.Struct(f"{_HEADER.format}{self.count}d{len(self.keys)}s")
        self.point = layout.pack
        self.begun = begun(Kind.SCALARS, layout.size)
        self.head = HEADER.pack(MAGIC, Kind.SCALARS, layout.size, 0)[: -_CHECKSUM.size]
        self.frame = struct.Struct(f"<{len(self.head)}sI{layout.size}s").pack

    def encode(self, step: int, time: int, values: Sequence[float]) -> bytes:
        """One point; raises struct.error when it cannot be one (a step beyond 64 bits)."""
        return self.point(MARK, self.count, step, time, *values, self.keys)


def decode(payload: bytes) -> dict[str, Any]:
    """The fields `step`, `time` and `values`, by key; raises ValueError on anything else."""
    if payload[:1] != bytes([MARK]):
        return dict(json.loads(payload))
    try:
        _, count, step, time = _HEADER.unpack_from(payload)
        values = struct.unpack_from(f"<{count}d", payload, _HEADER.size)
    except struct.error:
        raise ValueError("a point is cut off") from None
    keys = _keys(payload[_HEADER.size + 8 * count :])
    return {"step": step, "time": time, "values": dict(zip(keys, values, strict=True))}


@lru_cache(maxsize=64)
def _keys(text: bytes) -> tuple[str, ...]:
    """Most points of a run have the same keys: reading them anew took most of the time."""
    return tuple(json.loads(text))
