"""What the default settings cost: in a short job, and in a long one at its dearest moment.

One model in one place of memory is trained with the SDK and without it in turns, a fraction of
a second each: two copies of a model differ by more than one per cent by where they lie. A step
counts by the median bare step of its round, so that slow phases of the machine cancel; steps
are sorted by how long ago the last snapshot was, and each sort counts by its median and its
share of the steps, so that interrupts cancel and what a snapshot leaves behind is seen.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final

import numpy as np
import torch
from benchmarks.overhead.blocks import Estimate
from benchmarks.overhead.contenders import scratch_folder
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

import backslide
from backslide.run import Run

SORTS: Final = ("with a snapshot", "after it", "2nd after it", "others")
"""Steps by their distance from the last snapshot."""
BATCHES: Final = 8
"""Batches in turn: on one alone a network soon has nothing left to learn but tiny numbers."""
DRAWS: Final = 1_000


@dataclass(frozen=True)
class Default:
    """What was found of one model.

    Attributes:
        steps, snapshots, seconds: of the short job, and what it spent on watching in all.
        wall, cpu: step time of the long job over that of a bare one.
        control: the same of bare blocks in the place of watched ones: 1 but for noise.
        shares: of the long job's steps, by sort.
        added: what a step of each sort takes longer than a bare one, as a share of that.
        account, kept: what the SDK says that the long job spends; of it what went into the
            steps' scalars, and what sampled steps were slower by beyond its clocks.
        idle: 50th and 99th percentile of the calls of `step` without a snapshot, in seconds.
    """

    steps: int
    snapshots: int
    seconds: float
    wall: Estimate
    cpu: Estimate
    control: Estimate
    shares: tuple[float, ...]
    added: tuple[float, ...]
    account: float
    kept: float
    idle: tuple[float, float]


class Job:
    """A training that can be watched or not.

    Attributes:
        idle: seconds of the calls of `step` that completed no snapshot.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, optimizer: torch.optim.Optimizer, run: Run
    ) -> None:
        self._model, self._optimizer, self._run = model, optimizer, run
        fresh = torch.randn_like if inputs.is_floating_point() else torch.clone
        self._batches = [
            (fresh(inputs), torch.randint(0, 10, (len(inputs),))) for _ in range(BATCHES)
        ]
        self._number = 0
        self._since = len(SORTS)
        self._left: float | None = None
        self.watch: Any = run._watch  # noqa: SLF001  # there is no public view of its clock
        self.idle: list[float] = []

    def step(self, *, watched: bool) -> tuple[int, float, float]:
        """One step: its sort, its time, and the thread's."""
        self._number += 1
        inputs, targets = self._batches[self._number % BATCHES]
        known = self.snapshots
        wall, cpu = perf_counter(), thread_time()
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self._model(inputs), targets)
        loss.backward()
        self._optimizer.step()
        before = perf_counter()
        if watched:
            self._run.step(loss=loss)
        now = perf_counter()
        took, ran = now - wall, thread_time() - cpu
        if not watched:
            return -1, took, ran
        if self.snapshots != known:
            self._since = 0
        else:
            self._since += 1
            self.idle.append(now - before)
        return min(self._since, len(SORTS) - 1), took, ran

    @property
    def snapshots(self) -> int:
        """So far."""
        return self._run._snapshots  # noqa: SLF001  # as above

    def block(self, size: int, *, watched: bool) -> NDArray[np.float64]:
        """Steps one after the other, shape (n, 3): sort, wall and cpu.

        A watched block goes on until what a snapshot leaves behind is over.
        """
        if not watched:
            with self._bare():
                return np.array([self.step(watched=False) for _ in range(size)])
        if self._left is not None:
            self.watch._last += perf_counter() - self._left  # noqa: SLF001  # not its own time
        steps = [self.step(watched=True) for _ in range(size)]
        while self.watch._sample is not None or self._since < len(SORTS) - 1:  # noqa: SLF001  # as above
            steps.append(self.step(watched=True))
        self._left = perf_counter()
        return np.array(steps)

    @contextmanager
    def _bare(self) -> Iterator[None]:
        """Without the hooks that stay on the optimizer."""
        optimizer = self._optimizer
        hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks  # noqa: SLF001  # torch has no public view
        optimizer._optimizer_step_pre_hooks = OrderedDict()  # noqa: SLF001  # the same
        optimizer._optimizer_step_post_hooks = OrderedDict()  # noqa: SLF001  # the same
        try:
            yield
        finally:
            optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = hooks  # noqa: SLF001  # the same


def measure(
    make: Callable[[], tuple[nn.Module, Tensor]], *, short: int, rounds: int, size: int
) -> Default:
    """A short job, which a long one goes on from.

    Args:
        make: makes the model and its inputs.
        short: steps of the short job.
        rounds: of the long one; each has a watched and two bare blocks.
        size: steps of a block.
    """
    os.environ["BACKSLIDE_OFFLINE"] = "1"
    model, inputs = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with (
        scratch_folder() as folder,
        backslide.start(
            "overhead", model=model, optimizer=optimizer, spool_dir=Path(folder)
        ) as run,
    ):
        job = Job(model, inputs, optimizer, run)
        cadence = job.watch._cadence  # noqa: SLF001  # there is no public view of its clock
        for _ in range(short):
            job.step(watched=True)
        snapshots, seconds = job.snapshots, cadence.spent
        # The moment at which the share begins to bind: all that is free has been spent.
        free = cadence._grace()  # noqa: SLF001  # as above
        cadence.spent, cadence.kept, cadence.elapsed = free, 0.0, free / cadence.aim
        began = cadence.elapsed
        job.idle.clear()
        watched, control = [], []
        for number in range(rounds):
            order = ("watched", "bare", "again")
            found = {
                kind: job.block(size, watched=kind == "watched")
                for kind in (*order[number % 3 :], *order[: number % 3])
            }
            watched.append(_over(found["watched"], found["bare"], found["again"]))
            control.append(_over(found["again"], found["bare"]))
        elapsed = cadence.elapsed - began
        spent = cadence.spent + cadence.kept - free
    every = np.concatenate(watched)
    sorts = [every[every[:, 0] == sort, 1] for sort in range(len(SORTS))]
    return Default(
        steps=short,
        snapshots=snapshots,
        seconds=seconds,
        wall=_estimate(watched, 1),
        cpu=_estimate(watched, 2),
        control=_estimate(control, 1),
        shares=tuple(len(each) / len(every) for each in sorts),
        added=tuple(float(np.median(each)) - 1 if len(each) else 0.0 for each in sorts),
        account=spent / elapsed,
        kept=cadence.kept / elapsed,
        idle=(float(np.percentile(job.idle, 50)), float(np.percentile(job.idle, 99))),
    )


def _over(steps: NDArray[np.float64], *bare: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps, their times as shares of the median bare one's."""
    times = np.concatenate(bare)[:, 1:]
    return np.column_stack([steps[:, 0], steps[:, 1:] / np.median(times, 0)])


def _estimate(rounds: list[NDArray[np.float64]], column: int) -> Estimate:
    """The mean over the sorts' medians, with the 95 % interval of a bootstrap over rounds."""
    generator = np.random.default_rng(0)
    draws = [
        _mean(np.concatenate([rounds[at] for at in draw]), column)
        for draw in generator.integers(len(rounds), size=(DRAWS, len(rounds)))
    ]
    low, high = np.percentile(draws, (2.5, 97.5))
    return Estimate(_mean(np.concatenate(rounds), column), float(low), float(high))


def _mean(steps: NDArray[np.float64], column: int) -> float:
    kinds = [steps[steps[:, 0] == sort, column] for sort in np.unique(steps[:, 0])]
    return float(sum(np.median(kind) * len(kind) for kind in kinds) / len(steps))
