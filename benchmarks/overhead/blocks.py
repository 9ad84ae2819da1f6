"""Several copies of one model, trained in turns and in blocks of steps, and how long they take.

A slow phase of the machine hits all of them: what counts is the difference to the bare copy's
block of the same round.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time, sleep

import numpy as np
import torch
from benchmarks.overhead.contenders import Contender, scratch_folder
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it


@dataclass(frozen=True, eq=False)
class Times:
    """Seconds a step, by round.

    Attributes:
        wall: elapsed.
        cpu: of the whole process, to which other programs add little; with what the block left
            for the background to do.
    """

    wall: NDArray[np.float64]
    cpu: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A median with its distribution-free 95 % interval (order statistics)."""

    value: float
    low: float
    high: float


def median(values: NDArray[np.float64]) -> Estimate:
    """Ranks n/2 -+ 0.98 sqrt(n) hold the median with 95 % (binomial, normal approximation)."""
    ordered = np.sort(values)
    reach = 0.98 * np.sqrt(len(ordered))
    low = max(int(np.floor(len(ordered) / 2 - reach)), 0)
    high = min(int(np.ceil(len(ordered) / 2 + reach)), len(ordered) - 1)
    return Estimate(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def added(times: Times, bare: Times, clock: str) -> Estimate:
    """Added share of the step time: the median difference over the median bare step."""
    mine, base = getattr(times, clock), getattr(bare, clock)
    found, step = median(mine - base), float(np.median(base))
    return Estimate(found.value / step, found.low / step, found.high / step)


def race(
    make: Callable[[], tuple[nn.Module, Tensor]],
    contenders: Mapping[str, type[Contender]],
    *,
    rounds: int,
    size: int,
    warm_up: int = 5,
) -> dict[str, Times]:
    """Trains one copy of a model for each contender.

    Args:
        make: makes the model and its inputs.
        contenders: by name.
        rounds: each has a block in every round; who begins changes.
        size: steps of a block.
        warm_up: steps before anything counts.
    """
    model, inputs = make()
    targets = torch.randint(0, 10, (len(inputs),))
    names = list(contenders)
    walls = {name: np.empty(rounds) for name in names}
    cpus = {name: np.empty(rounds) for name in names}
    with scratch_folder() as folder:
        steps = {}
        watchers = {name: kind(Path(folder, name)) for name, kind in contenders.items()}
        for name, watcher in watchers.items():
            watcher.scratch.mkdir()
            steps[name] = _step(copy.deepcopy(model), watcher, inputs, targets)
            for _ in range(warm_up):
                steps[name]()
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                step = steps[name]
                step()  # the others have had the caches
                wall, cpu = perf_counter(), process_time()
                for _ in range(size):
                    step()
                walls[name][number] = (perf_counter() - wall) / size
                watchers[name].settle()
                _rest()
                cpus[name][number] = (process_time() - cpu) / size
        for watcher in watchers.values():
            watcher.close()
    return {name: Times(walls[name], cpus[name]) for name in names}


def _rest() -> None:
    """Waits, 5 s at most, until this process rests: the next block is not its threads'."""
    for _ in range(250):
        before = process_time()
        sleep(0.02)
        if process_time() - before < 0.002:
            return


def _step(
    model: nn.Module, watcher: Contender, inputs: Tensor, targets: Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    watcher.attach(model, optimizer)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        watcher.backward_done()
        optimizer.step()
        watcher.step_done(loss)

    return step
