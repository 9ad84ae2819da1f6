"""What the frameworks' own classes share: the run, as long as one training lasts."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from typing import Any, Final

import torch
from torch import distributed

import backslide
from backslide.guard import Faults, guarded
from backslide.run import Run

AGREE_EVERY: Final = 50
"""Steps between two questions to the other processes; each costs them a round trip."""

PROBED: Final = (
    "probe takes (inputs, targets) or (inputs, targets, concepts), as run.probe does"
)


class Session:
    """Starts a run for each training, and steps it.

    Attributes:
        run: the newest run; None before the first training.
        faults: what went wrong in here, by kind.
    """

    def __init__(
        self, lineage: str, start: Mapping[str, Any], probe: Sequence[object] | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
            lineage: names the chain of retrains.
            start: what the user has to say to `backslide.start`.
            probe: what `run.probe` is called with once training is over.

        Raises:
            TypeError: `probe` is a tensor or the like, and not a tuple.
        """
        if probe is not None and not (
            isinstance(probe, tuple | list) and len(probe) in (1, 2, 3)
        ):
            raise TypeError(PROBED)
        super().__init__()
        self.run: Run | None = None
        self.faults = Faults()
        self._lineage = lineage
        self._said = start
        self._probe = probe
        self._steps = 0

    def _begin(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer],
        **known: Any,  # noqa: ANN401  # as `backslide.start` has them
    ) -> Run:
        """Starts a run, and ends the one before; what the user said wins over what is known."""
        if self.run is not None:
            self.run.finish()
        options = known | dict(self._said)
        self.run = backslide.start(self._lineage, model=model, optimizer=optimizer, **options)
        return self.run

    def _step(self, loss: torch.Tensor | None = None) -> bool:
        """Ends a step; whether training should stop, the same answer in every process."""
        if self.run is None:
            return False
        self.run.step(**({} if loss is None else {"loss": loss}))
        return self.run.on_fault == "stop" and self._agreed(self.run.should_stop)

    @guarded(None)
    def _counted(self, loader: object) -> None:
        """Records how many training examples there are, where a data set knows its length."""
        sampler, dataset = getattr(loader, "sampler", None), getattr(loader, "dataset", None)
        drawn_from = getattr(sampler, "indices", dataset)  # of a sampler that takes a part
        if self.run is not None and isinstance(drawn_from, Sized):
            with suppress(TypeError):  # a data set that is read as a stream has no length
                self.run.log(**{"train/examples": len(drawn_from)})

    def _probed(self) -> None:
        """Probes, if that was asked for; of several processes the run chooses one."""
        if self.run is not None and self._probe is not None:
            self.run.probe(*self._probe)

    def _agreed(self, stop: bool) -> bool:
        """One that stopped alone would leave the others waiting for ever."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return stop
        self._steps += 1
        if self._steps % AGREE_EVERY:
            return False
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        told = torch.tensor(float(stop), device=device)
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        return bool(told.item())
