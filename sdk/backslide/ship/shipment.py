"""What the two streams of a delivery share: where it stands, and what was lost on the way."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from backslide.ship.cursor import Cursor
from backslide.ship.remote import RejectedError, Remote
from backslide.spool.job import REJECTED, SLACK, Job, RunState
from backslide.spool.segments import used_bytes

SLACK_BYTES: Final = 16 << 10
REJECTED_BYTES: Final = 16 << 20
REFUSED_FILES_BYTES: Final = 64 << 20
REFUSED: Final = "refused"
"""Folder in the spool of whole files that MLflow refused for good."""

T = TypeVar("T")
R = TypeVar("R")


class Shipment:
    """One spool on its way to one run.

    Attributes:
        folder, job, remote: from where, what, to where.
        cursor: how far it is, as last saved or a little further.
        state: what the trainer may know; published whenever it changes.
        progress: how often the cursor was saved: something had arrived.
    """

    def __init__(self, folder: Path, job: Job, remote: Remote) -> None:
        """Takes up where the last shipper of this spool stopped."""
        self.folder = folder
        self.job = job
        self.remote = remote
        self.cursor = Cursor.load(folder)
        self.progress = 0
        self.state = replace(RunState.read(folder), away=None)
        self.take_slack()

    @property
    def joined(self) -> bool:
        """Whether others may write into the run as well."""
        return self.job.run_id is not None

    def publish(self, **changes: Any) -> None:  # noqa: ANN401  # fields of RunState
        """Tells the trainer."""
        state = replace(self.state, **changes)
        if state != self.state:
            self.state = state
            with suppress(OSError):  # a full disk: the trainer then knows less, nothing worse
                state.write(self.folder)

    # --- the cursor, and a disk that is full

    def save(self) -> None:
        """Makes the cursor durable."""
        self.with_slack(lambda: self.cursor.save(self.folder))
        self.progress += 1

    def back(self) -> None:
        """Forgets what was done since the cursor was saved: it will be done again."""
        self.cursor = Cursor.load(self.folder)

    def take_slack(self) -> None:
        """Sets room aside, so that shipping goes on, and so makes room, on a full disk."""
        slack = self.folder / SLACK
        if not slack.exists():
            with suppress(OSError):
                slack.write_bytes(bytes(SLACK_BYTES))

    def with_slack(self, write: Callable[[], R]) -> R:
        """Writes, in the room set aside if there is no other; raises OSError without either."""
        try:
            return write()
        except OSError:
            if not (self.folder / SLACK).exists():
                raise
            (self.folder / SLACK).unlink()
            return write()

    # --- losses

    def offer(self, items: Sequence[T], send: Callable[[Sequence[T]], None]) -> None:
        """Sends a batch; a refused one is halved until the culprit is alone and set aside."""
        if self.cursor.gone:
            self.reject(items, "the run was deleted", count=len(items))
            return
        try:
            send(items)
        except RejectedError as why:
            if len(items) == 1:
                self.reject(items[0], str(why))
                return
            half = len(items) // 2
            self.offer(items[:half], send)
            self.offer(items[half:], send)

    def reject(self, what: object, why: str, *, count: int = 1) -> None:
        """Counts a loss and keeps what was lost, within bounds."""
        self.cursor.rejected += count
        self.publish(rejected=self.cursor.rejected, problem=why)
        path = self.folder / REJECTED
        with suppress(OSError):
            if not path.exists() or path.stat().st_size < REJECTED_BYTES:
                with path.open("a") as file:
                    file.write(json.dumps({"why": why, "what": what}, default=str) + "\n")

    def reject_file(self, file: Path, folder: str, why: str, *, count: int = 1) -> None:
        """The same for a whole file, which holds `count` records."""
        self.reject(f"{folder}/{file.name}", why, count=count)
        place = self.folder / REFUSED
        if used_bytes(place) + file.stat().st_size <= REFUSED_FILES_BYTES:
            with suppress(OSError):
                (place / folder).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place / folder / file.name)

    def keep_rejected(self) -> None:
        """Moves what was set aside out of the spool, which is about to go."""
        place = self.folder.parent / "rejected"
        for name, kept in ((REJECTED, f"{self.job.client}.jsonl"), (REFUSED, self.job.client)):
            if (self.folder / name).exists():
                place.mkdir(exist_ok=True)
                shutil.move(self.folder / name, place / kept)
