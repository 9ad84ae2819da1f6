"""A sampled step: while it lasts, and while its results are on their way to the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from backslide.measure.assemble import Assembler
from backslide.measure.batches.capture import Capture
from backslide.measure.batches.facts import Batch
from backslide.measure.snapshot import Snapshot
from backslide.measure.summary import Summary
from backslide.measure.transfer import Transfer

IN_FLIGHT: Final = 8
"""Snapshots on their way from a device at most."""


@dataclass(eq=False)
class Sample:
    """A sampled step that is not over yet.

    Attributes:
        summary: what was measured in it.
        calls: calls of `step` it has lasted for.
        cost: seconds it has cost the host.
    """

    summary: Summary
    calls: int = 0
    cost: float = 0.0


@dataclass(frozen=True, eq=False)
class Flight:
    """Results of a sampled step on their way to the host.

    Attributes:
        step: its number.
        wall_time: epoch seconds.
        sample: what it was.
        transfer: of the tensors' summaries.
        rates: learning rates by metric key.
        capture: of the batch, if there was one.
    """

    step: int
    wall_time: float
    sample: Sample
    transfer: Transfer
    rates: Mapping[str, float]
    capture: Capture | None

    def arrived(self) -> bool:
        """Whether everything is there; never waits."""
        return self.transfer.ready() and (self.capture is None or self.capture.ready())

    def hidden(self) -> float:
        """Seconds that it cost a GPU beyond what the host noticed."""
        return max(0.0, self.sample.summary.timing.seconds() - self.sample.cost)


class Flights:
    """Sampled steps under way, and the snapshots that they become, in order.

    Args:
        assembler: puts rows together.
        fail: told what could not be read and why.

    Attributes:
        surcharge: seconds that the newest snapshot cost a GPU beyond what the host noticed.
    """

    def __init__(self, assembler: Assembler, fail: Callable[[str], None]) -> None:
        """Has none yet."""
        self.surcharge = 0.0
        self._assembler = assembler
        self._fail = fail
        self._flying: list[Flight] = []
        self._hidden = 0.0

    @property
    def room(self) -> bool:
        """Whether another may start."""
        return len(self._flying) < IN_FLIGHT

    @property
    def under_way(self) -> bool:
        """Whether any has not been read yet."""
        return bool(self._flying)

    def start(self, flight: Flight) -> None:
        """One more is on its way."""
        self._flying.append(flight)

    def landed(self, share: float, *, wait: bool = False) -> list[Snapshot]:
        """Snapshots whose copies are complete, oldest first.

        Args:
            share: of the time that watching has cost so far; goes into them.
            wait: for those under way too.
        """
        ready = []
        while self._flying and (wait or self._flying[0].arrived()):
            flight = self._flying.pop(0)
            rows = flight.transfer.rows()
            self.surcharge = flight.hidden()
            self._hidden += self.surcharge
            snapshot = self._assembler.snapshot(flight.step, flight.wall_time, rows, share)
            scalars = {**snapshot.scalars, **flight.rates}
            ready.append(replace(snapshot, scalars=scalars, batch=self._batch(flight)))
        return ready

    def take_hidden(self) -> float:
        """Seconds that snapshots cost GPUs unnoticed since this was last asked."""
        seconds, self._hidden = self._hidden, 0.0
        return seconds

    def _batch(self, flight: Flight) -> Batch | None:
        """What the network was fed and answered, if it can be told."""
        if flight.capture is None:
            return None
        try:
            return flight.capture.batch(flight.step)
        except Exception as error:  # noqa: BLE001  # a snapshot is worth more than its batch
            self._fail(f"a batch could not be read: {error}")
            return None
