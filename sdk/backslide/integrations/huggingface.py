"""Hugging Face: `Trainer(..., callbacks=[BackslideCallback("sentiment-bert")])`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backslide.guard import guarded
from backslide.integrations.session import Session
from backslide.measure.instruments.names import unwrapped

NO_RECIPE: Final = {
    "data_seed", "disable_tqdm", "local_rank", "logging_dir", "output_dir", "report_to",
    "resume_from_checkpoint", "run_name", "seed",
}  # fmt: skip
"""Arguments that differ between retrains of one recipe."""


class BackslideCallback(Session, TrainerCallback):
    """Watches a `train`, keeps what the trainer logs, and evaluates each example afterwards.

    A step is one step of the optimizer. `loss` is that of the step wherever the model computes
    it, at every step and not only when the trainer logs; other values arrive under the
    trainer's own names (`eval_loss`, `learning_rate`, `grad_norm`). The training arguments and
    the model's configuration are the recipe, unless `params` says another.

    After `train` the outcome of each example of the evaluation set is recorded, which is what a
    verdict is made of: one more pass over it. That is for models with one answer an example; on
    several processes, and where the answers are sequences, it is left to `run.log_predictions`.

    The run stays open for `trainer.evaluate(...)`. It ends with the program, with the next
    `train`, or by `callback.run.finish()`.

    Args:
        lineage: names the chain of retrains that this run belongs to.
        evaluate: whether to make the pass for the examples' outcomes.
        probe: `(inputs, targets)` or `(inputs, targets, concepts)`, what `run.probe` is given
            once `train` is over; the same in every retrain. For its course over training
            call `run.probe` yourself.
        start: whatever else `backslide.start` takes, apart from the model and its optimizer.

    Attributes:
        run: the run, from the start of `train` on.
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
        self._losses = _Losses()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,  # noqa: ARG002  # the trainer calls it so
        control: TrainerControl,  # noqa: ARG002
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Starts the run."""
        model = more["model"]
        self._begin(
            model,
            more["optimizer"],
            params=_recipe(args, model),
            run_name=args.run_name,
            seed=args.seed,
        )
        self._counted(more.get("train_dataloader"))
        if not args.torch_compile:  # a hook that keeps a tensor would break the graph
            self._losses.listen(model)

    @guarded(None)
    def on_step_end(
        self,
        /,
        args: TrainingArguments,
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        """Ends a step."""
        if self._step(self._losses.take(args.gradient_accumulation_steps)):
            control.should_training_stop = True

    @guarded(None)
    def on_log(
        self,
        /,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Records what the trainer logs; its `loss` is a mean of those recorded already."""
        if self.run is not None:
            known = {"loss"} if self._losses.heard else set()
            self.run.log({k: value for k, value in more["logs"].items() if k not in known})

    @guarded(None)
    def on_train_end(
        self,
        /,
        args: TrainingArguments,
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Probes, and records the outcome of each example of the evaluation set."""
        self._losses.leave()
        self._probed()
        batches: Iterable[Any] | None = more.get("eval_dataloader")
        if self.run is None or not self._evaluate or batches is None:
            return
        if args.world_size == 1:
            self.run.evaluate("eval", batches)


class _Losses:
    """The losses that a model returns in training, summed up over one optimizer's step."""

    def __init__(self) -> None:
        self.heard = False
        self._sum: torch.Tensor | None = None
        self._shares = False
        self._handle: Any = None

    def listen(self, model: torch.nn.Module) -> None:
        self.leave()
        self._handle = unwrapped(model).register_forward_hook(self._hear, with_kwargs=True)

    def leave(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._sum = None

    def take(self, batches: int) -> torch.Tensor | None:
        """The mean over the step's batches, and the start of the next step."""
        total, self._sum = self._sum, None
        return total if total is None or self._shares else total / batches

    def _hear(
        self, module: torch.nn.Module, _: object, kwargs: Mapping[str, Any], output: object
    ) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else None
        if not module.training or not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            return
        self.heard = True
        # Then each batch's loss is its share of the step's, and they add up.
        self._shares = kwargs.get("num_items_in_batch") is not None
        self._sum = loss.detach() if self._sum is None else self._sum + loss.detach()


def _recipe(args: TrainingArguments, model: torch.nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    arguments: Callable[[], dict[str, Any]] = args.to_dict
    describe = getattr(config, "to_dict", dict)
    chosen = {key: value for key, value in arguments().items() if key not in NO_RECIPE}
    return {**describe(), **chosen}
