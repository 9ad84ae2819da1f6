"""A sampled step: while it lasts, and while its results are on their way to the host."""

from collections.abc import Mapping
from dataclasses import dataclass

from backslide.measure.batches.batches import Capture
from backslide.measure.summary import Summary
from backslide.measure.transfer import Transfer


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
