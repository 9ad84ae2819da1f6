"""One spool's way into MLflow, step by step; knows no MLflow, only what it can answer.

Two streams, each with its own patience, so that a broken artifact store does not hold up the
metrics: records are logged as they come, and closed segments are packed into Parquet parts.
"""

import base64
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from backslide.contract import HEARTBEAT_SECONDS, TEXT_LIMIT, Artifact, Metric, part
from backslide.ship import parts
from backslide.ship.cursor import Cursor, Row
from backslide.spool.job import REJECTED, WRITER_LOCK, Job, RunState, held
from backslide.spool.segments import Kind, Reading, Record, read, segment_path, segments

BATCH_ROWS: Final = 1_000
BATCH_TEXTS: Final = 100
BATCH_BYTES: Final = 800_000
"""MLflow refuses a request over 1 MB."""
PARAM_LIMIT: Final = 6_000
STOP_SECONDS: Final = 10.0
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
REJECTED_BYTES: Final = 16 << 20

T = TypeVar("T")


class AwayError(Exception):
    """The server did not answer, or not sensibly: the same may work later."""


class RejectedError(Exception):
    """The server understood and refused: the same can only be refused again."""


class GoneError(Exception):
    """The run was deleted in MLflow."""


class Remote(Protocol):
    """What a delivery needs of MLflow. Every method raises AwayError, RejectedError or Gone."""

    def connect(self, job: Job, run_id: str | None) -> tuple[str, str | None]:
        """Finds or creates the run; its id and its page."""

    def log(
        self,
        rows: Sequence[Row] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> None:
        """One batch within MLflow's limits."""

    def dataset(self, fields: dict[str, Any]) -> None:
        """One dataset input."""

    def upload(self, file: Path, folder: str) -> None:
        """Puts a file into a folder below the run's artifact root, over what is there."""

    def next_part(self, folder: str) -> int:
        """The first part number that nobody has used."""

    def stop_reason(self) -> str | None:
        """The detector's wish to stop this run."""

    def finish(self, status: str, ended: int) -> None:
        """Gives the run its final status, if it is ours to give; `ended` in epoch ms."""


class Pause:
    """Exponential back-off with jitter."""

    def __init__(self) -> None:
        """Ready at once."""
        self.until = 0.0
        self._length = FIRST_PAUSE

    @property
    def over(self) -> bool:
        """True when it is time for the next try."""
        return time.monotonic() >= self.until

    def lengthen(self) -> None:
        """After a failure."""
        self.until = time.monotonic() + self._length * random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
        self._length = min(LONGEST_PAUSE, 2 * self._length)

    def reset(self) -> None:
        """After a success, or when there is a reason to hurry."""
        self.until, self._length = 0.0, FIRST_PAUSE


class Delivery:
    """Ships one spool, round by round.

    Attributes:
        state: what the trainer may know; published whenever it changes.
    """

    def __init__(self, folder: Path, job: Job, remote: Remote) -> None:
        """Takes up where the last shipper of this spool stopped."""
        self._folder = folder
        self._job = job
        self._remote = remote
        self._cursor = Cursor.load(folder)
        self.state = replace(RunState.read(folder), away=None)
        self._connected = False
        self._records, self._files = Pause(), Pause()
        self._last_beat = self._last_stop = float("-inf")
        self._ending = False

    def round(self) -> bool:
        """Does what can be done now; True when everything is shipped and the run has ended."""
        alive = held(self._folder / WRITER_LOCK)  # asked first: what it wrote is then all there
        if not alive and not self._ending:
            self._ending = True
            self._records.reset()
            self._files.reset()
        if self._records.over:
            self._attempt(self._records, lambda: self._log_round(alive=alive))
        if self._connected and self._files.over:
            self._attempt(self._files, self._pack_round)
        if alive or not self._connected or segments(self._folder) or self.state.away:
            return False
        self._attempt(self._records, self._finish)
        return self.state.done

    def hurry(self) -> None:
        """Forget about pauses: somebody waits."""
        self._records.reset()
        self._files.reset()

    def _attempt(self, pause: Pause, action: Callable[[], None]) -> None:
        try:
            try:
                action()
            except GoneError:
                self._bury()
        except AwayError as why:
            # What was counted on the way to the failed call will be counted again.
            self._cursor = Cursor.load(self._folder)
            pause.lengthen()
            self._publish(away=str(why), asked=True)
        else:
            pause.reset()
            if self._records.over and self._files.over:
                self._publish(away=None, asked=True)

    def _publish(self, **changes: Any) -> None:  # noqa: ANN401  # fields of RunState
        state = replace(self.state, **changes)
        if state != self.state:
            self.state = state
            with suppress(OSError):  # a full disk: the trainer then knows less, nothing worse
                state.write(self._folder)

    # --- records: metrics, params, tags, dataset inputs

    def _log_round(self, *, alive: bool) -> None:
        if not self._connected:
            self._connect()
        while self._log_segment(alive=alive):
            pass
        if not alive:
            self._send(
                self._cursor.last_rows(), BATCH_ROWS, lambda rows: self._remote.log(rows=rows)
            )
        self._publish_losses()
        now = time.monotonic()
        if alive and now - self._last_beat >= HEARTBEAT_SECONDS:
            self._system_row(Metric.LAST_SEEN, time.time())
            self._last_beat = now
        if alive and now - self._last_stop >= STOP_SECONDS:
            self._publish(stop=self._remote.stop_reason())
            self._last_stop = now

    def _connect(self) -> None:
        run_id, url = self._remote.connect(self._job, self.state.run_id)
        if self._job.run_id and self._cursor == Cursor():
            # Another job may have written into the run that was joined.
            for folder in self._cursor.parts:
                self._cursor.parts[folder] = self._remote.next_part(folder)
            self._cursor.save(self._folder)
        self._connected = True
        self._publish(run_id=run_id, url=url, away=None, asked=True)

    def _log_segment(self, *, alive: bool) -> bool:
        """Logs what the current segment holds; True when there is a next one to look at."""
        cursor = self._cursor
        present = [number for number in segments(self._folder) if number >= cursor.segment]
        if not present:
            return False
        if present[0] != cursor.segment:
            cursor.segment, cursor.offset = present[0], 0
        closed = present[0] != present[-1] or not alive
        path = segment_path(self._folder, cursor.segment)
        reading = read(path, cursor.offset, closed=closed)
        self._log_reading(reading, cursor.offset)
        if closed:
            self._set_aside(reading, path)
            cursor.segment, cursor.offset = cursor.segment + 1, 0
            cursor.save(self._folder)
        return closed

    def _log_reading(self, reading: Reading, start: int) -> None:
        """Sends the records of a stretch in batches, saving the cursor after each."""
        batch = _Batch()
        for record in reading.records:
            try:
                self._sort(record, batch)
            except (ValueError, KeyError, TypeError) as error:
                self._reject(record.payload[:1_000], f"unreadable record: {error}")
            if batch.full:
                self._send_batch(batch, start + record.end)
                batch = _Batch()
        if reading.records:
            self._send_batch(batch, start + reading.records[-1].end)

    def _sort(self, record: Record, batch: "_Batch") -> None:
        cursor = self._cursor
        match record.kind:
            case Kind.SCALARS:
                batch.rows += cursor.thin(json.loads(record.payload))
            case Kind.TAGS:
                batch.tags += json.loads(record.payload).items()
            case Kind.PARAMS:
                batch.params += json.loads(record.payload).items()
            case Kind.DATASET:
                batch.datasets.append(json.loads(record.payload))
            case Kind.CATALOGUE:
                parts.keep_catalogue(record.payload, self._folder)
            case Kind.DROPPED:
                cursor.dropped = json.loads(record.payload)["dropped"]
            case Kind.END:
                end = json.loads(record.payload)
                cursor.status, cursor.time = end["status"], end["time"]
            case _:
                pass  # packed with its segment

    def _send_batch(self, batch: "_Batch", offset: int) -> None:
        remote = self._remote
        self._send(batch.rows, BATCH_ROWS, lambda rows: remote.log(rows=rows))
        params = [(key, value[:PARAM_LIMIT]) for key, value in batch.params]
        self._send(params, BATCH_TEXTS, lambda some: remote.log(params=some))
        tags = [(key, value[:TEXT_LIMIT]) for key, value in batch.tags]
        self._send(tags, BATCH_TEXTS, lambda some: remote.log(tags=some))
        for fields in batch.datasets:
            self._send([fields], 1, lambda one: remote.dataset(one[0]))
        self._cursor.offset = offset
        self._cursor.save(self._folder)

    def _send(self, items: Sequence[T], most: int, send: Callable[[Sequence[T]], None]) -> None:
        """Sends items in chunks; a refused chunk is halved until the culprit is alone."""
        for chunk in _chunks(items, most):
            self._bisect(chunk, send)

    def _bisect(self, items: Sequence[T], send: Callable[[Sequence[T]], None]) -> None:
        if self._cursor.gone:
            self._reject(items, "the run was deleted")
            return
        try:
            send(items)
        except RejectedError as why:
            if len(items) == 1:
                self._reject(items[0], str(why))
                return
            half = len(items) // 2
            self._bisect(items[:half], send)
            self._bisect(items[half:], send)

    # --- segments: Parquet parts and whole files

    def _pack_round(self) -> None:
        for number in segments(self._folder):
            if number >= self._cursor.segment:
                return
            if number > self._cursor.packed:
                self._pack(number)
            segment_path(self._folder, number).unlink(missing_ok=True)

    def _pack(self, number: int) -> None:
        reading = read(segment_path(self._folder, number), 0, closed=True)
        content = parts.sort(reading.records, self._folder)
        numbers = dict(self._cursor.parts)
        with tempfile.TemporaryDirectory(prefix="backslide-") as scratch:
            for folder, table in (
                (Artifact.SCALARS, content.scalars),
                (Artifact.LAYERS, content.layers),
            ):
                if table.num_rows:
                    file = Path(scratch, folder, part(numbers[folder]))
                    file.parent.mkdir(parents=True)
                    parts.write(table, file)
                    self._upload(file, folder)
                    numbers[folder] += 1
        for path, name in content.artifacts:
            self._upload(self._folder / name, str(Path(path).parent))
        for why in content.unreadable:
            self._reject(None, why)
        self._cursor.parts, self._cursor.packed = numbers, number
        self._cursor.save(self._folder)
        for _, name in content.artifacts:
            shutil.rmtree((self._folder / name).parent, ignore_errors=True)

    def _upload(self, file: Path, folder: str) -> None:
        if not file.exists():  # sent already, just before the shipper died
            return
        self._bisect([file.name], lambda _: self._remote.upload(file, folder))

    # --- losses

    def _set_aside(self, reading: Reading, path: Path) -> None:
        for start, end in reading.damaged:
            data = path.read_bytes()[self._cursor.offset :][start:end]
            self._reject(base64.b64encode(data[:65_536]).decode(), f"damage in {path.name}")

    def _reject(self, what: object, why: str) -> None:
        """Counts a loss and keeps what was lost, within bounds."""
        count = len(what) if isinstance(what, list) else 1
        self._cursor.rejected += count
        self._publish(rejected=self._cursor.rejected, problem=why)
        path = self._folder / REJECTED
        with suppress(OSError):
            if not path.exists() or path.stat().st_size < REJECTED_BYTES:
                with path.open("a") as file:
                    file.write(json.dumps({"why": why, "what": what}, default=str) + "\n")

    def _bury(self) -> None:
        """The run was deleted: from now on everything is refused, so that the spool empties."""
        self._cursor.gone = self._connected = True
        self._cursor.save(self._folder)
        self._publish(problem="the run was deleted")

    def _publish_losses(self) -> None:
        lost = self._cursor.dropped + self._cursor.rejected
        if lost != self._cursor.published:
            self._system_row(Metric.DROPPED, lost)
            self._cursor.published = lost
            self._cursor.save(self._folder)

    def _system_row(self, key: str, value: float) -> None:
        if not self._cursor.gone:
            row = (key, value, time.time_ns() // 1_000_000, self._cursor.step)
            with suppress(RejectedError):
                self._remote.log(rows=[row])

    # --- the end

    def _finish(self) -> None:
        if not self._cursor.gone:
            now = time.time_ns() // 1_000_000
            with suppress(RejectedError):
                self._remote.finish(self._cursor.status or "KILLED", self._cursor.time or now)
        rejected = self._folder / REJECTED
        if rejected.exists():
            kept = self._folder.parent / "rejected" / f"{self._job.client}.jsonl"
            kept.parent.mkdir(exist_ok=True)
            shutil.move(rejected, kept)
        self._publish(done=True, away=None)


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
