"""Records as they lie on disk: one record is one frame, found again whatever lies around it.

A frame carries its length and a CRC-32, so that a torn tail or a flipped bit is seen, cut out
and counted, and costs no other record.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

MAGIC: Final = b"\xb5\x1d"
HEADER: Final = struct.Struct("<2sBII")
"""Magic, kind, bytes of payload, CRC-32 of everything but the magic and itself."""
CHECKED: Final = struct.Struct("<BI")


class Kind(IntEnum):
    """What a record is; values are on disk and never change their meaning."""

    SCALARS = 1
    SNAPSHOT = 2
    ARTIFACT = 3
    TAGS = 4
    PARAMS = 5
    DATASET = 6
    DROPPED = 7
    END = 8
    CATALOGUE = 9
    BATCH = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One frame.

    Attributes:
        kind: a `Kind`, or a number that a newer writer knows.
        end: offset of the byte after it, from where the reading began.
    """

    kind: int
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stretch of a segment held.

    Attributes:
        records: in the order written.
        end: how many bytes are dealt with.
        damaged: byte ranges, (start, end), that hold no record.
    """

    records: tuple[Record, ...]
    end: int
    damaged: tuple[tuple[int, int], ...] = ()


def frame(kind: int, payload: bytes) -> bytes:
    """One record as it lies on disk."""
    size = len(payload)
    return HEADER.pack(MAGIC, kind, size, zlib.crc32(payload, begun(kind, size))) + payload


@lru_cache(maxsize=256)
def begun(kind: int, size: int) -> int:
    """The checksum of what comes before a payload; most are of few sizes."""
    return zlib.crc32(CHECKED.pack(kind, size))


def parse(data: bytes, *, closed: bool) -> Reading:
    """Reads frames from the start of `data`.

    Args:
        data: a segment from any frame boundary on.
        closed: nobody writes any more: pass over damage. Otherwise stop at the first thing that
            is no whole frame, for it may still be in the making.
    """
    records: list[Record] = []
    damaged: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        record = _frame_at(data, at)
        if record is not None:
            records.append(record)
            at = record.end
        elif closed:
            start, at = at, _next_frame(data, at + 1)
            damaged.append((start, at))
        else:
            break
    return Reading(tuple(records), at, tuple(damaged))


def _frame_at(data: bytes, at: int) -> Record | None:
    if at + HEADER.size > len(data):
        return None
    magic, kind, size, crc = HEADER.unpack_from(data, at)
    start = at + HEADER.size
    if magic != MAGIC or start + size > len(data):
        return None
    payload = data[start : start + size]
    if zlib.crc32(payload, begun(kind, size)) != crc:
        return None
    return Record(kind, payload, start + size)


def _next_frame(data: bytes, at: int) -> int:
    """Offset of the first whole frame from `at` on, or the end of the data."""
    while (at := data.find(MAGIC, at)) >= 0:
        if _frame_at(data, at) is not None:
            return at
        at += 1
    return len(data)
