"""When to look: dense in the first steps, then sparser, within a budget of time.

Pure: it is told the time and what watching cost, and answers. No clock, no tensors.
"""

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Final

GRACE_SECONDS: Final = 2.0
"""Watching may cost this much in all, whatever the share: short runs are seen densely."""

CROWDED: Final = 0.1
"""On a crowded machine watching waits for a processor like everybody else. That is no work of
its own, and the grace is longer by it, up to ten times."""

LONGEST: Final = 1_000
"""Steps between two snapshots at most, whatever the budget."""

GROWTH: Final = 0.02
"""Given the budget, the interval grows with the step: 2 % of the steps so far. All of the first
50 steps are seen, 300 steps give about 140 snapshots, 100,000 steps about 450."""

SPARING: Final = 0.15
"""The same once half the grace is gone, more the less is left: where a look is dear, the other
half must last to the end of the run, and not be spent on its first steps."""

SEEN: Final = 0.85
"""Of what watching costs, the share that is seen at least: after a snapshot, and after each
call of `step`, the training finds its data gone from the caches. What the clocks saw, and how
much slower sampled steps were, may add up to this share of the budget."""

REMEMBERED: Final = 64
"""Steps of which the time is remembered, sampled ones and others, to compare their medians."""

COMPARABLE: Final = 8
"""Of each so many are needed."""

JITTER: Final = 0.25
"""Intervals vary by this share, so that they keep no time with accumulation or epochs."""

BATCHES: Final = GROWTH * (1 - JITTER)
"""Facts about the batch come no more often than snapshots at their densest, within a budget:
where every step is sampled they would be most of the spool, and say nothing new."""


class Cadence:
    """Decides which steps are sampled.

    Args:
        overhead: share of the time that watching may cost, as a fraction; None: every step.

    Attributes:
        aim: share of the time that it may cost by its own clocks; None: every step.
        spent: seconds that watching has cost so far.
        elapsed: seconds of training so far, watching included.
        kept: seconds that went into keeping scalars, and those that no clock saw of sampled
            steps; part of the share, but not of the grace.
        steps: so far.
    """

    def __init__(self, overhead: float | None) -> None:
        """Raises ValueError when `overhead` is not a fraction."""
        if overhead is not None and not 0 < overhead < 1:
            raise ValueError(f"overhead must be a fraction between 0 and 1, not {overhead}")
        self.aim = None if overhead is None else SEEN * overhead
        self.spent = 0.0
        self.elapsed = 0.0
        self.kept = 0.0
        self._random = Random(0)  # noqa: S311  # its own generator: the global ones are the user's
        self.steps = 0
        self._since = 0
        self._next_batch = 0
        self._wait = 1
        self._price = 0.0
        self._took = self._ran = 0.0
        self._usual: deque[float] = deque(maxlen=REMEMBERED)
        self._sampled: deque[float] = deque(maxlen=REMEMBERED)
        self._scalars: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def share(self) -> float:
        """Share of the time spent on watching so far, as a fraction."""
        return (self.spent + self.kept) / self.elapsed if self.elapsed > 0 else 0.0

    def step(
        self, seconds: float, cost: float, price: float | None = None, *, steps: int = 1
    ) -> bool:
        """Ends a step, or several at once, and says whether to sample the next one.

        Args:
            seconds: time since this was last asked, watching included.
            cost: seconds of it that went into watching.
            price: seconds that the snapshot cost that this step completed, if it did.
            steps: since this was last asked.
        """
        self.elapsed += seconds
        self.steps += steps
        self._since += steps
        if steps > 1:
            self.kept += (steps - 1) * _median(self._scalars)
        elif price is None:
            self._usual.append(seconds - cost)
        if price is not None:
            self._sampled.append(seconds - cost)
            # No more than the price: the times of steps may differ by chance.
            self.kept += min(self._unseen(), price)
            # A slow first look (warming up) must not set the price for long.
            self._price = 0.5 * (self._price + price) if self._price else price
            self._since = 0
        self.spent += cost
        if price is not None:
            self._wait = self._interval()
        if self._since + 1 < self._wait:
            return False
        return self._since + 1 >= LONGEST or self.affords(self._price)

    @property
    def rest(self) -> int:
        """Steps that may pass before it is asked again, once it has said no.

        The last one before a sampled step is asked about by itself, to see how long it takes.
        Where the budget is not there in time, a sixteenth of the wait so far is added.
        """
        ahead = self._wait - 1 - self._since
        if ahead > 0:
            return max(ahead - 2, 0)
        return max(min(self._since // 16, LONGEST - 2 - self._since), 0)

    def scalars(self, seconds: float) -> None:
        """Notes what a step's scalars cost; steps not told of count by the median."""
        self.kept += seconds
        self._scalars.append(seconds)

    def ran(self, seconds: float, took: float) -> None:
        """Notes how crowded the machine is.

        Args:
            seconds: for which the thread had a processor, in a stretch of watching.
            took: seconds that the stretch took.
        """
        self._ran += seconds
        self._took += took

    @property
    def step_seconds(self) -> float:
        """Mean time of a step without watching."""
        return (self.elapsed - self.spent) / max(self.steps, 1)

    def wants_batch(self) -> bool:
        """Whether the sampled step that begins is to have facts about its batch."""
        wanted = self.steps >= self._next_batch
        if wanted:
            self._next_batch = self.steps + max(1, int(BATCHES * self.steps))
        return wanted

    def affords(self, seconds: float) -> bool:
        """Whether spending this much more keeps the budget."""
        return self.aim is None or self.spent + seconds <= self._budget(self.aim)

    def spares(self, seconds: float) -> bool:
        """Whether something rare may cost this much: an eighth of the budget so far.

        It is paid back by the snapshots after it, which wait for longer.
        """
        return self.aim is None or seconds <= self._budget(self.aim) / 8

    def _unseen(self) -> float:
        """Seconds by which sampled steps are slower beyond what the clocks saw.

        The caches and pages of memory that a snapshot takes from the training, by medians.
        """
        if min(len(self._usual), len(self._sampled)) < COMPARABLE:
            return 0.0
        return max(0.0, _median(self._sampled) - _median(self._usual))

    def _budget(self, aim: float) -> float:
        """Seconds that watching may have cost by now."""
        return max(self._grace(), aim * self.elapsed - self.kept)

    def _grace(self) -> float:
        """Seconds that watching may cost in all, whatever the share."""
        ran = self._ran / self._took if self._took else 1.0
        return GRACE_SECONDS / min(1.0, max(CROWDED, ran))

    def _growth(self, aim: float) -> float:
        """Share of the steps so far by which the interval grows."""
        grace, share = self._grace(), aim * self.elapsed
        left = 1.0 - self.spent / grace
        if left >= 0.5 or share >= min(self.spent, grace):  # the share binds, or does soon
            return GROWTH
        return SPARING * 0.5 / max(left, 1e-3)

    def _interval(self) -> int:
        """Steps from this snapshot to the next one, if the budget allows it then."""
        if self.aim is None:
            return 1
        interval = self._growth(self.aim) * self.steps
        if not self.affords(self._price):
            budget = self.aim * max(self.step_seconds, 1e-9)
            interval = max(interval, self._price / budget)
        jittered = interval * self._random.uniform(1 - JITTER, 1 + JITTER)
        return max(1, min(LONGEST, round(jittered)))


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
