"""The first stream: records become metrics, params, tags and dataset inputs as they come."""

import base64
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from backslide.contract import HEARTBEAT_SECONDS, TEXT_LIMIT, Metric
from backslide.ship import parts
from backslide.ship.cursor import Row
from backslide.ship.remote import RejectedError
from backslide.ship.shipment import Shipment
from backslide.spool import points
from backslide.spool.frames import Kind, Reading, Record
from backslide.spool.segments import read, segment_path, segments

BATCH_ROWS: Final = 1_000
BATCH_TEXTS: Final = 100
BATCH_BYTES: Final = 800_000
"""MLflow refuses a request over 1 MB."""
PARAM_LIMIT: Final = 6_000
STOP_SECONDS: Final = 5.0

T = TypeVar("T")


class Records:
    """Logs a spool's records in order."""

    def __init__(self, shipment: Shipment) -> None:
        """Sends nothing yet."""
        self._shipment = shipment
        self._last_beat = self._last_stop = float("-inf")

    def round(self, *, alive: bool) -> None:
        """Sends all there is; `alive`: the trainer may write more."""
        shipment = self._shipment
        while self._segment(alive=alive):
            pass
        if not alive:
            self._send(
                shipment.cursor.last_rows(),
                BATCH_ROWS,
                lambda rows: shipment.remote.log(rows=rows),
            )
        self._publish_losses()
        now = time.monotonic()
        if alive and now - self._last_beat >= HEARTBEAT_SECONDS:
            self.beat()
        if alive and now - self._last_stop >= STOP_SECONDS:
            shipment.publish(stop=shipment.remote.stop_reason())
            self._last_stop = now

    def _segment(self, *, alive: bool) -> bool:
        """Logs what the current segment holds; True when there is a next one to look at."""
        cursor, folder = self._shipment.cursor, self._shipment.folder
        present = [number for number in segments(folder) if number >= cursor.segment]
        if not present:
            return False
        if present[0] != cursor.segment:
            cursor.segment, cursor.offset = present[0], 0
        closed = present[0] != present[-1] or not alive
        path = segment_path(folder, cursor.segment)
        reading = read(path, cursor.offset, closed=closed)
        self._log(reading, cursor.offset)
        if closed:
            self._set_aside(reading, path)
            if alive:
                # Before its part is stored, so that MLflow knows of every step in the parts: a
                # job that takes up this run counts on from there.
                self.beat()
            cursor.segment, cursor.offset = cursor.segment + 1, 0
            self._shipment.save()
        return closed

    def _log(self, reading: Reading, start: int) -> None:
        """Sends the records of a stretch in batches, saving the cursor after each."""
        batch = _Batch()
        for record in reading.records:
            try:
                self._sort(record, batch)
            except (ValueError, KeyError, TypeError) as error:
                why = f"unreadable record: {error}"
                self._shipment.reject(record.payload[:1_000], why)
            if batch.full:
                self._send_batch(batch, start + record.end)
                batch = _Batch()
        if reading.records:
            self._send_batch(batch, start + reading.records[-1].end)

    def _sort(self, record: Record, batch: "_Batch") -> None:
        cursor = self._shipment.cursor
        match record.kind:
            case Kind.SCALARS:
                batch.rows += cursor.thin(points.decode(record.payload))
            case Kind.TAGS:
                batch.tags += json.loads(record.payload).items()
            case Kind.PARAMS:
                batch.params += json.loads(record.payload).items()
            case Kind.DATASET:
                batch.datasets.append(json.loads(record.payload))
            case Kind.CATALOGUE:
                folder = self._shipment.folder
                self._shipment.with_slack(lambda: parts.keep_catalogue(record.payload, folder))
            case Kind.DROPPED:
                cursor.dropped = json.loads(record.payload)["dropped"]
            case Kind.END:
                end = json.loads(record.payload)
                cursor.status, cursor.time = end["status"], end["time"]
            case _:
                pass  # packed with its segment

    def _send_batch(self, batch: "_Batch", offset: int) -> None:
        remote = self._shipment.remote
        self._send(batch.rows, BATCH_ROWS, lambda rows: remote.log(rows=rows))
        params = [(key, value[:PARAM_LIMIT]) for key, value in batch.params]
        self._send(params, BATCH_TEXTS, lambda some: remote.log(params=some))
        tags = [(key, value[:TEXT_LIMIT]) for key, value in batch.tags]
        self._send(tags, BATCH_TEXTS, lambda some: remote.log(tags=some))
        for fields in batch.datasets:
            self._send([fields], 1, lambda one: remote.dataset(one[0]))
        self._shipment.cursor.offset = offset
        self._shipment.save()

    def _send(self, items: Sequence[T], most: int, send: Callable[[Sequence[T]], None]) -> None:
        for chunk in _chunks(items, most):
            self._shipment.offer(chunk, send)

    def _set_aside(self, reading: Reading, path: Path) -> None:
        for start, end in reading.damaged:
            data = path.read_bytes()[self._shipment.cursor.offset :][start:end]
            text = base64.b64encode(data[:65_536]).decode()
            self._shipment.reject(text, f"damage in {path.name}")

    def _publish_losses(self) -> None:
        cursor = self._shipment.cursor
        lost = cursor.dropped + cursor.rejected
        if lost != cursor.published:
            self._system_row(Metric.DROPPED, lost)
            cursor.published = lost
            self._shipment.save()

    def beat(self) -> None:
        """Says that the run has news."""
        self._system_row(Metric.LAST_SEEN, time.time())
        self._last_beat = time.monotonic()

    def _system_row(self, key: str, value: float) -> None:
        shipment = self._shipment
        if not shipment.cursor.gone:
            row = (key, value, time.time_ns() // 1_000_000, shipment.cursor.step)
            with suppress(RejectedError):
                shipment.remote.log(rows=[row])


class _Batch:
    """Records on their way into MLflow's tables."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.params: list[tuple[str, str]] = []
        self.tags: list[tuple[str, str]] = []
        self.datasets: list[dict[str, Any]] = []

    @property
    def full(self) -> bool:
        """True when it should be sent before more is added."""
        return len(self.rows) >= BATCH_ROWS or len(self.params) + len(self.tags) >= BATCH_TEXTS


def _chunks(items: Sequence[T], most: int) -> Iterable[Sequence[T]]:
    """Slices of at most `most` items and about BATCH_BYTES of JSON; a large item goes alone."""
    chunk: list[T] = []
    size = 0
    for item in items:
        length = len(json.dumps(item, default=str)) + 64  # the names of the fields around it
        if chunk and (len(chunk) >= most or size + length > BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length
    if chunk:
        yield chunk
