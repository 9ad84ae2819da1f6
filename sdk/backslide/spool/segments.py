"""Durable, bounded record keeping on disk, between the training loop and the shipper.

A spool is a folder of append-only segments. One record is one frame, written by one `write` to
a descriptor in append mode: what `append` accepted lies in the page cache and survives kill -9
of this process. A background call to `sync` makes it survive a power cut too, about a second
late.

A segment is closed once a younger one exists; only then may a reader pass over damage in it,
because in the open one "damaged" and "not yet written" look the same.
"""

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from backslide.spool.frames import Kind, Reading, frame, parse

SEGMENT_BYTES: Final = 8 << 20
SEGMENT_SECONDS: Final = 5.0
SEGMENT_SHARE: Final = 0.05
SEGMENT_LONGEST: Final = 600.0
SEGMENT_LEAST_SHARE: Final = 1 / 200
"""A segment lives 5 % of the run's age, from three hours on ten minutes, from 33 hours on a
200th of the age: whoever judges the running job waits so long for what is inside the network,
and a day makes 240 parts of each table, a week 620."""
LIMIT_BYTES: Final = 256 << 20
DROPPABLE_SHARE: Final = 0.75
"""Snapshots and batches stop at this share of the limit; the rest is for what matters more."""

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 16 << 10
"""A file that only takes up space, until the end of the run needs it."""

_datasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has fsync alone


def segment_path(folder: Path, number: int) -> Path:
    """Where the `number`-th segment lies."""
    return folder / f"segment-{number:06d}.log"


def segments(folder: Path) -> list[int]:
    """Numbers of the segments that exist, ascending."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("segment-*.log"))


def read(path: Path, offset: int, *, closed: bool) -> Reading:
    """Reads one segment from `offset`; the offsets in the answer count from there."""
    with path.open("rb") as file:
        file.seek(offset)
        return parse(file.read(), closed=closed)


def used_bytes(folder: Path) -> int:
    """Size of everything below a folder."""
    return sum(_size(entry) for entry in _files(folder))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # shipped and removed since it was listed
        return 0


def lifetime(age: float) -> float:
    """Seconds after which a segment is closed in a run of this age, in seconds."""
    share = min(SEGMENT_SHARE * age, SEGMENT_LONGEST)
    return max(SEGMENT_SECONDS, share, SEGMENT_LEAST_SHARE * age)


class Spool:
    """The writing end. Nothing here raises on a full or broken disk: `append` says False.

    `append` may be called from any thread; `sync` and `rotate` from any other.

    Attributes:
        dropped: records given up, by reason.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT_BYTES) -> None:
        """Opens a fresh segment; raises OSError when the folder cannot be written."""
        self.folder = folder
        (folder / RESERVE).write_bytes(bytes(RESERVE_BYTES))
        self.dropped: Counter[str] = Counter()
        self._limit = limit
        self._lock = threading.Lock()
        self._number = (segments(folder) or [0])[-1] + 1
        self._fd: int | None = self._open(self._number)
        self._retired: list[int] = []
        self._size = 0
        self._used = 0
        self._hasty = False
        self._born = self._opened = time.monotonic()

    def append(self, kind: Kind, payload: bytes, *, droppable: bool = False) -> bool:
        """Writes one record; True when it is on disk (in the page cache) as a whole.

        Args:
            kind: tells the reader what it is.
            payload: any bytes.
            droppable: give this record up when the spool nears its limit.
        """
        return self.write(kind, frame(kind, payload), droppable=droppable)

    def write(self, kind: Kind, data: bytes, *, droppable: bool = False) -> bool:
        """As `append`, for a record that is a frame already."""
        with self._lock:
            if self._fd is None:
                return self._drop(kind, "the spool was closed")
            if droppable and self._used + len(data) > DROPPABLE_SHARE * self._limit:
                return self._drop(kind, "the spool is full")
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                return self._drop(kind, error.strerror or "the disk failed")
            if written != len(data):
                # A full disk takes a piece: cut it off again. If that fails too, the reader
                # finds the piece by its checksum.
                with suppress(OSError):
                    os.ftruncate(self._fd, self._size)
                return self._drop(kind, os.strerror(errno.ENOSPC))
            self._size += written
            self._used += written
            return True

    def _drop(self, kind: Kind, reason: str) -> bool:
        if kind is not Kind.DROPPED:  # the count itself is no loss: it is written again
            self.dropped[reason] += 1
        return False

    @property
    def room(self) -> int:
        """Bytes left below the limit."""
        return max(0, self._limit - self._used)

    def rotate(self) -> None:
        """Closes the open segment, if it holds anything, so that it is packed and shipped."""
        with self._lock:
            if self._fd is None or self._size == 0:
                return
            try:
                fd = self._open(self._number + 1)
            except OSError:
                return  # no room for a new file: go on with the old one
            self._retired.append(self._fd)
            self._fd, self._number = fd, self._number + 1
            self._size, self._opened, self._hasty = 0, time.monotonic(), False

    def hasten(self) -> None:
        """The open segment holds something that should not wait long to be packed."""
        self._hasty = True

    def rotate_if_due(self) -> None:
        """Closes the open segment when it is large, or old in proportion to the run."""
        now = time.monotonic()
        patience = SEGMENT_SECONDS
        if not self._hasty:
            patience = lifetime(now - self._born)
        if self._size >= SEGMENT_BYTES or now - self._opened >= patience:
            self.rotate()

    def sync(self) -> None:
        """Makes everything written so far survive a power cut, and looks at the space used."""
        with self._lock:
            retired, self._retired = self._retired, []
            current = os.dup(self._fd) if self._fd is not None else None
        for fd in [*retired, *([] if current is None else [current])]:
            with suppress(OSError):
                _datasync(fd)
            os.close(fd)
        self._used = used_bytes(self.folder)

    def make_room(self) -> None:
        """Gives up the reserve, so that even on a full disk the last words can be written."""
        with suppress(OSError):
            (self.folder / RESERVE).unlink()
        self.rotate()

    def close(self) -> None:
        """Syncs and closes; later appends are counted as dropped."""
        with self._lock:
            if self._fd is not None:
                self._retired.append(self._fd)
                self._fd = None
        self.sync()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files without touching what they hold."""
        self._lock = threading.Lock()  # another thread of the parent may have held the old one
        for fd in [*self._retired, *([] if self._fd is None else [self._fd])]:
            with suppress(OSError):
                os.close(fd)
        self._fd, self._retired = None, []

    def _open(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(segment_path(self.folder, number), flags, 0o600)
