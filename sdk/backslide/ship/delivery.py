"""One spool's way into MLflow, round by round; knows no MLflow, only what it can answer.

Two streams, each with its own patience, so that a broken artifact store does not hold up the
metrics: records are logged as they come, and closed segments are packed into Parquet parts.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from backslide.ship.packing import Packing
from backslide.ship.records import Records
from backslide.ship.remote import AwayError, GoneError, RejectedError, Remote
from backslide.ship.shipment import Shipment
from backslide.ship.siblings import siblings, take_up
from backslide.ship.twins import Doubt
from backslide.spool.job import WRITER_LOCK, Job, RunState, held
from backslide.spool.segments import segments

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
LONGEST_WAIT: Final = 3_600.0
"""No server may send us away for longer."""


class Pause:
    """Exponential back-off with jitter; never less than the server asked for."""

    def __init__(self) -> None:
        """Ready at once."""
        self._until = self._asked = 0.0
        self._length = FIRST_PAUSE

    @property
    def over(self) -> bool:
        """True when it is time for the next try."""
        return time.monotonic() >= max(self._until, self._asked)

    def lengthen(self, wait: float | None) -> None:
        """After a failure; `wait`: what the server asked for, in seconds."""
        now = time.monotonic()
        self._until = now + self._length * random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
        self._length = min(LONGEST_PAUSE, 2 * self._length)
        if wait is not None:
            self._asked = now + min(LONGEST_WAIT, wait)

    def reset(self) -> None:
        """After a success or a part of one, or when there is a reason to hurry."""
        self._until, self._length = 0.0, FIRST_PAUSE


class Delivery:
    """Ships one spool, round by round."""

    def __init__(self, folder: Path, job: Job, remote: Remote) -> None:
        """Takes up where the last shipper of this spool stopped."""
        self._folder = folder
        self._shipment = Shipment(folder, job, remote)
        self._doubt = Doubt(folder.parent, job)
        self._records, self._packing = Records(self._shipment), Packing(self._shipment)
        self._records_pause, self._packing_pause = Pause(), Pause()
        self._connected = False
        self._ending = False

    @property
    def state(self) -> RunState:
        """What the trainer may know."""
        return self._shipment.state

    @property
    def progress(self) -> int:
        """Grows whenever something has arrived for good."""
        return self._shipment.progress

    def round(self) -> bool:
        """Does what can be done now; True when everything is shipped and the run has ended."""
        alive = held(self._folder / WRITER_LOCK)  # asked first: what it wrote is then all there
        if not alive and not self._ending:
            self._ending = True
            self.hurry()
        if self._records_pause.over:
            self._attempt(self._records_pause, lambda: self._log(alive=alive))
        if self._connected and self._packing_pause.over:
            self._attempt(self._packing_pause, self._packing.round)
        if alive or not self._connected or segments(self._folder) or self.state.away:
            return False
        self._attempt(self._records_pause, self._finish)
        return self.state.done

    def hurry(self) -> None:
        """Forgets about pauses of our own: somebody waits."""
        self._records_pause.reset()
        self._packing_pause.reset()

    def _attempt(self, pause: Pause, action: Callable[[], None]) -> None:
        shipment = self._shipment
        before = shipment.progress
        try:
            try:
                action()
            except GoneError:
                self._bury()
        except (AwayError, OSError) as why:
            # What was counted on the way to the failed call will be counted again.
            shipment.back()
            if shipment.progress > before:
                pause.reset()  # only failures in a row make it longer
            pause.lengthen(why.wait if isinstance(why, AwayError) else None)
            shipment.publish(away=str(why), asked=True)
        else:
            pause.reset()
            if self._records_pause.over and self._packing_pause.over:
                shipment.publish(away=None, asked=True)

    def _log(self, *, alive: bool) -> None:
        if not self._connected:
            self._connect()
        self._records.round(alive=alive)

    def _connect(self) -> None:
        shipment = self._shipment
        # Looked at before the server is: what another shipper sends in between is then known.
        undecided = shipment.joined and shipment.cursor.base is None
        beside = siblings(shipment.job, self._folder) if undecided else []
        known = self.state.run_id
        if not shipment.joined and known is None:
            self._doubt.asking()
        found = shipment.remote.connect(shipment.job, known)
        self._doubt.answered(found.run_id)
        if shipment.cursor.base is None:
            shipment.cursor.base = take_up(shipment.job, beside, found.step)
            shipment.save()  # before the run is ours and before any row: it must never change
        shipment.remote.claim()
        self._connected = True
        shipment.publish(run_id=found.run_id, url=found.url, away=None, asked=True)

    def _bury(self) -> None:
        """The run was deleted: from now on everything is refused, so that the spool empties."""
        self._shipment.cursor.gone = self._connected = True
        self._shipment.save()
        self._shipment.publish(problem="the run was deleted")

    def _finish(self) -> None:
        shipment = self._shipment
        cursor = shipment.cursor
        if not cursor.gone:
            # The last artifact may come long after the verdict: by `backslide sync`, or after
            # whoever started the run has ended it. A heartbeat makes it news to the detector.
            self._records.beat()
            now = time.time_ns() // 1_000_000
            with suppress(RejectedError):
                shipment.remote.finish(cursor.status or "KILLED", cursor.time or now)
        shipment.keep_rejected()
        shipment.publish(done=True, away=None)
