"""Accelerate: `Accelerator(log_with=BackslideTracker("digits-cnn", model, optimizer))`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.tracking import GeneralTracker  # type: ignore[import-untyped]  # has no types

from backslide.guard import guarded
from backslide.integrations.session import Session
from backslide.run import Run


class BackslideTracker(Session, GeneralTracker):  # type: ignore[misc]  # for the same reason
    """Watches a loop written with accelerate, and keeps what `accelerator.log` is given.

    A step is one step of the first optimizer, noticed by itself: it needs no `run.step`. What
    is logged goes to the step that is over; give `loss` for each step and the curve has them
    all. `accelerator.init_trackers(name, config)` starts the run with `config` as the recipe
    (without one, the first `accelerator.log` does), and `accelerator.end_training()` finishes
    it. A verdict is made of the examples' outcomes, so record them:
    `accelerator.get_tracker("backslide", unwrap=True).evaluate("test", loader)`.

    Args:
        lineage: names the chain of retrains that this run belongs to.
        model: as it is before or after `accelerator.prepare`.
        optimizer: one or several, before or after `accelerator.prepare`.
        probe: `(inputs, targets)` or `(inputs, targets, concepts)`, what `run.probe` is given
            once training ends; the same in every retrain. For its course over training
            call `run.probe` yourself.
        start: whatever else `backslide.start` takes.
    """

    name = "backslide"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self,
        lineage: str,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer],
        *,
        probe: Sequence[object] | None = None,
        **start: Any,  # noqa: ANN401  # as `backslide.start` has them
    ) -> None:
        """Starts nothing yet."""
        super().__init__(lineage, start, probe)
        self._model = model
        several = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else optimizer
        self._optimizers = list(several)
        self._handle: Any = None

    @property
    def tracker(self) -> Run:
        """The run."""
        return self._running({})

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Starts the run."""
        self._running(values)

    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:  # noqa: ANN401, ARG002  # steps are the run's own
        """Records scalars at the step that is over."""
        self._running({}).log(values)

    def finish(self) -> None:
        """Probes, and finishes the run."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self.run is not None:
            self._probed()
            self.run.finish()

    def _running(self, config: Mapping[str, Any]) -> Run:
        if self.run is not None:
            return self.run
        run = self._begin(self._model, self._optimizers, params=config)
        # After the run's own hooks: these measure the step that then is over.
        first = self._optimizers[0]
        inner = getattr(first, "optimizer", first)
        self._handle = inner.register_step_post_hook(self._over)
        return run

    @guarded(None)
    def _over(self, *_: object) -> None:
        self._step()
