"""What the frameworks' own classes share: the run, as long as one training lasts."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

import backslide
from backslide.guard import Faults
from backslide.run import Run


class Session:
    """Starts a run for each training, and steps it.

    Attributes:
        run: the newest run; None before the first training.
        faults: what went wrong in here, by kind.
    """

    def __init__(self, lineage: str, start: Mapping[str, Any]) -> None:
        """Starts nothing yet; `start` is what the user has to say to `backslide.start`."""
        super().__init__()
        self.run: Run | None = None
        self.faults = Faults()
        self._lineage = lineage
        self._said = start

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
        """Ends a step; whether training should stop."""
        if self.run is None:
            return False
        self.run.step(**({} if loss is None else {"loss": loss}))
        return self.run.should_stop
