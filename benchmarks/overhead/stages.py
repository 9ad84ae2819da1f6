"""Where the time of one snapshot goes, by stage; CPU time of the training thread."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import thread_time
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure import snapshot
from backslide.measure.assemble import Assembler
from backslide.measure.flight import Flights
from backslide.measure.instruments import steps, updates
from backslide.measure.instruments.activations import Activations
from backslide.measure.summary import Summary
from backslide.measure.transfer import Transfer
from backslide.measure.watch import Watch

STAGES: Final[dict[str, tuple[Any, str]]] = {
    "activations, in hooks": (Activations, "_measure"),
    "gradients": (steps, "gradients"),
    "copy of the weights": (updates.Updates, "before"),
    "weights and updates": (updates.Updates, "after"),
    "samples: histograms": (Summary, "finish"),
    "arithmetic on the host": (Transfer, "rows"),
    "units, network figures": (Assembler, "snapshot"),
    "the batch": (Flights, "_batch"),
    "encoding": (snapshot, "encode"),
}
"""By name, the function that does it; none is inside another."""


def stages(make: Callable[[], tuple[nn.Module, Tensor]], count: int) -> dict[str, float]:
    """Median seconds by stage."""
    model, inputs = make()
    targets = torch.randint(0, 10, (len(inputs),))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found: list[dict[str, float]] = []
    with _timed() as seconds:
        watch = Watch(model, [optimizer], overhead=None)
        for number in range(count + 10):
            seconds.clear()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            for each in watch.step(number):
                snapshot.encode(each)
            if number >= 10:  # every buffer has its size
                found.append(dict(seconds))
        watch.close()
    return {name: float(np.median([each[name] for each in found])) for name in STAGES}


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    seconds: dict[str, float] = defaultdict(float)

    def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += thread_time() - start

        return call

    with ExitStack() as stack:
        for name, (owner, function) in STAGES.items():
            stack.enter_context(
                patch.object(owner, function, clocked(name, getattr(owner, function)))
            )
        yield seconds
