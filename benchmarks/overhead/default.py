"""What the default settings cost: in a short job, and in a long one at its dearest moment."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
import torch
from benchmarks.overhead.blocks import Estimate, median
from benchmarks.overhead.contenders import scratch_folder
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

import backslide


@dataclass(frozen=True)
class Default:
    """What was found of one model.

    Attributes:
        steps, snapshots, seconds: of the short job, and what it spent on watching in all.
        wall, cpu: step time of the long job over that of a bare one.
        share: what the SDK itself says that the long job spends.
        idle: 99th percentile of the calls of `step` that complete no snapshot, in seconds.
    """

    steps: int
    snapshots: int
    seconds: float
    wall: Estimate
    cpu: Estimate
    share: float
    idle: float


def measure(
    make: Callable[[], tuple[nn.Module, Tensor]], *, short: int, rounds: int, size: int
) -> Default:
    """Trains a bare and a watched copy, step by step in turns, and compares whole blocks.

    Args:
        make: makes the model and its inputs.
        short: steps of the short job, which the long one goes on from.
        rounds: blocks.
        size: steps of a block, enough for several snapshots.
    """
    os.environ["BACKSLIDE_OFFLINE"] = "1"
    model, inputs = make()
    targets = torch.randint(0, 10, (len(inputs),))
    models = (copy.deepcopy(model), model)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-3) for each in models]
    with (
        scratch_folder() as folder,
        backslide.start(
            "overhead", model=model, optimizer=optimizers[1], spool_dir=Path(folder)
        ) as run,
    ):
        cadence = run._watch._cadence  # noqa: SLF001  # there is no public view of its clock
        idle: list[float] = []

        def step(which: int) -> tuple[float, float]:
            wall, cpu = perf_counter(), thread_time()
            optimizers[which].zero_grad()
            loss = F.cross_entropy(models[which](inputs), targets)
            loss.backward()
            optimizers[which].step()
            if which:
                before, known = thread_time(), run._snapshots  # noqa: SLF001  # as above
                run.step(loss=loss)
                if run._snapshots == known:  # noqa: SLF001  # as above
                    idle.append(thread_time() - before)
            return perf_counter() - wall, thread_time() - cpu

        for _ in range(short):
            step(1)
        snapshots, seconds = run._snapshots, cadence.spent  # noqa: SLF001  # as above
        # The moment at which the share begins to bind: all that is free has been spent.
        free = cadence._grace()  # noqa: SLF001  # as above
        cadence.spent, cadence.kept, cadence.elapsed = free, 0.0, free / cadence.aim
        began = cadence.spent, cadence.elapsed
        ratios = np.empty((rounds, 2))
        for number in range(rounds):
            sums = np.zeros((2, 2))
            for place in range(size):
                for which in ((0, 1), (1, 0))[place % 2]:
                    sums[which] += step(which)
            ratios[number] = sums[1] / sums[0]
        spent = cadence.spent + cadence.kept - began[0]
        elapsed = cadence.elapsed - began[1]
    return Default(
        steps=short,
        snapshots=snapshots,
        seconds=seconds,
        wall=median(ratios[:, 0]),
        cpu=median(ratios[:, 1]),
        share=spent / elapsed,
        idle=float(np.percentile(idle, 99)),
    )
