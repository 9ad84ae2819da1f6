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

MARK: Final = 1
"""The first byte; a point that begins with a brace is JSON of the same fields."""

_HEADER: Final = struct.Struct("<BHqq")
"""Mark, number of values, step, epoch milliseconds; then values (float64), keys (JSON)."""


class Form:
    """Points of the same keys, which are written the same way."""

    __slots__ = ("_count", "_keys", "_pack")

    def __init__(self, keys: Iterable[str]) -> None:
        """Takes the keys in the order of the values."""
        names = list(keys)
        self._count = len(names)
        self._keys = json.dumps(names).encode()
        self._pack = struct.Struct(f"{_HEADER.format}{self._count}d{len(self._keys)}s").pack

    def encode(self, step: int, time: int, values: Sequence[float]) -> bytes:
        """One point; raises struct.error when it cannot be one (a step beyond 64 bits)."""
        return self._pack(MARK, self._count, step, time, *values, self._keys)


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
