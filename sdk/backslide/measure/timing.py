"""What watching costs a GPU, measured by the GPU.

The host only queues work there: its own clock says nothing of how long that takes. Events are
recorded in the stream before and after, and read when everything behind them has long arrived,
so nothing waits. Where the GPU is busy they are the time of the kernels alone; where it idles,
the time in which the host queued them.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Final

import torch
from torch import Tensor

_NOTHING: Final = nullcontext()


class Timing:
    """Stretches of work on GPUs, of one snapshot."""

    def __init__(self) -> None:
        """Has none yet."""
        self._stretches: list[_Stretch] = []

    def on(self, device: torch.device) -> AbstractContextManager[object]:
        """Around work that is queued on a device; nothing where the host does it itself."""
        if device.type != "cuda":
            return _NOTHING
        stretch = _Stretch(device)
        self._stretches.append(stretch)
        return stretch

    def over(self, tensors: Iterable[Tensor]) -> AbstractContextManager[object]:
        """Around work on the devices of several tensors."""
        devices = {tensor.device for tensor in tensors}
        if not any(device.type == "cuda" for device in devices):
            return _NOTHING
        several = ExitStack()
        for device in devices:
            several.enter_context(self.on(device))
        return several

    def seconds(self) -> float:
        """The sum of the stretches that are over; never waits."""
        return sum(stretch.seconds() for stretch in self._stretches)


class _Stretch:
    """From one event in a device's stream to another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch has no types here

    def __enter__(self) -> None:
        self._record(self._begin)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._record(self._end)

    def _record(self, event: torch.cuda.Event) -> None:
        with torch.cuda.device(self._device):
            event.record()

    def seconds(self) -> float:
        if not self._end.query():  # type: ignore[no-untyped-call]  # torch has no types here
            return 0.0  # in a stream of its own, which nobody has waited for
        return float(self._begin.elapsed_time(self._end)) / 1e3
