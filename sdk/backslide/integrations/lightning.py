"""Lightning: `Trainer(callbacks=[BackslideCallback("digits-cnn")])`."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from backslide.guard import guarded
from backslide.integrations.session import Session

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import Logger
except ImportError:  # the same under its older name, so mypy sees two
    from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[assignment]
    from pytorch_lightning.loggers import Logger  # type: ignore[assignment]


class BackslideCallback(Session, Callback):
    """Watches a `fit`, keeps what the module logs, and evaluates each example afterwards.

    A step is one batch in which an optimizer took its step; `loss` is that of all batches
    accumulated for it. What the module logs with `self.log` arrives under the same names. The
    module's hyperparameters are the recipe, unless `params` says another.

    After `fit` each validation example's outcome is recorded, and after `test` each test
    example's: one more pass over those loaders, which is what a verdict is made of. On several
    processes no one process has all examples, so there it is left to `run.evaluate`.

    The run stays open for `trainer.test(...)`. It ends with the program, with the next `fit`,
    when training fails, or by `callback.run.finish()`.

    Args:
        lineage: names the chain of retrains that this run belongs to.
        evaluate: whether to make the passes for the examples' outcomes.
        probe: `(inputs, targets)` or `(inputs, targets, concepts)`, what `run.probe` is given
            once `fit` is over; the same in every retrain. For its course over training
            call `run.probe` yourself.
        start: whatever else `backslide.start` takes, apart from the model and its optimizers.

    Attributes:
        run: the run, from the start of `fit` on.
    """

    def __init__(
        self,
        lineage: str,
        *,
        evaluate: bool = True,
        probe: Sequence[object] | None = None,
        **start: Any,  # noqa: ANN401  # as `backslide.start` has them
    ) -> None:
        """Starts nothing yet."""
        super().__init__(lineage, start, probe)
        self._evaluate = evaluate
        self._taken = 0
        self._loss: torch.Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the run: model, optimizers and loggers are in place."""
        self._begin(pl_module, trainer.optimizers, params=dict(pl_module.hparams))
        self._counted(trainer.train_dataloader)
        self._taken, self._loss = trainer.global_step, None
        self._listen(trainer)

    @guarded(None)
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  # Lightning calls it so
        outputs: Any,  # noqa: ANN401  # whatever the module's training_step gives
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Ends a step if an optimizer took one in this batch."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor):
            # Already divided by the number of accumulated batches.
            self._loss = loss.detach() + (0.0 if self._loss is None else self._loss)
        if trainer.global_step == self._taken:
            return
        self._taken = trainer.global_step
        loss, self._loss = self._loss, None
        if self._step(loss):
            trainer.should_stop = True

    @guarded(None)
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Probes, and records each validation example, the module still on its device."""
        self._probed()
        self._outcomes("val", trainer.val_dataloaders, trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Listens to what `test_step` logs, also under another trainer than `fit`'s."""
        self._listen(trainer)

    @guarded(None)
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Records the outcome of each test example."""
        self._outcomes("test", trainer.test_dataloaders, trainer)

    def on_exception(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        """Ends the run as FAILED, or as KILLED after Ctrl-C."""
        if self.run is not None:
            self.run.__exit__(type(exception), exception, None)

    def _listen(self, trainer: Trainer) -> None:
        if self.run is not None and not any(
            isinstance(each, _Logged) for each in trainer.loggers
        ):
            trainer.loggers = [*trainer.loggers, _Logged(self)]

    def _outcomes(self, split: str, loaders: object, trainer: Trainer) -> None:
        if self.run is None or not self._evaluate or loaders is None or trainer.world_size > 1:
            return
        if not isinstance(loaders, list | tuple):
            loaders = [loaders]
        for index, loader in enumerate(loaders):
            self.run.evaluate(split if len(loaders) == 1 else f"{split}_{index}", loader)


class _Logged(Logger):
    """Passes on what Lightning logs, when and under the name it would for any logger."""

    def __init__(self, callback: BackslideCallback) -> None:
        super().__init__()
        self._callback = callback

    @property
    def name(self) -> None:
        return None

    @property
    def version(self) -> None:
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # noqa: ARG002  # steps are the run's own
        if self._callback.run is not None:
            self._callback.run.log(metrics)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """They are the run's params already."""
