"""The model's own inputs and outputs in a sampled step: hooks on the model as a whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from backslide.measure.batches.capture import Capture
from backslide.measure.batches.facts import Calls
from backslide.measure.batches.pieces import (
    Piece,
    by_example,
    features,
    first_answers,
    first_inputs,
    flat_answers,
    further_inputs,
)
from backslide.measure.batches.places import Places
from backslide.measure.batches.trial import ask, connected, question
from backslide.measure.batches.undisturbed import fit
from backslide.measure.instruments.clearing import Clearing
from backslide.measure.instruments.graph import Graph
from backslide.measure.instruments.hook import Hook
from backslide.measure.instruments.tensors import in_backward
from backslide.measure.meter import Meter

TRIALS: Final = (4, 16, 64, 256, 1024, 4096, 16384, 65536)
"""Steps from which on a trial is due, one each."""


class Batches:
    """Looks at the first batch of each sampled step; idle outside of them.

    Args:
        model: is hooked as a whole; its parts are another instrument's.
        optimizers: trials are made before their steps.
        clearing: knows which gradients a step was made with.
        trials: whether the model may be run once more now and then.
        graph: learns from the first trial how modules are connected.
        meter: told what the hooks cost, apart from trials.
        fail: told what could not be measured and why; a hook never raises.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Optimizer],
        *,
        clearing: Clearing,
        trials: bool,
        graph: Graph,
        meter: Meter,
        fail: Callable[[str], None],
    ) -> None:
        """Sets no hooks yet."""
        self._model = model
        self._optimizers = list(optimizers)
        self._clearing = clearing
        self._graph = graph
        self._meter = meter
        self._fail = fail
        self._trials = list(TRIALS) if trials else []
        self._try = False
        self._capture: Capture | None = None
        self._listening = False
        self._calls = Calls()
        self._last: tuple[int, int] | None = None
        self._abandoned = False
        self._tap: RemovableHandle | None = None
        self._handles: list[RemovableHandle] = []
        self._trial_seconds = 0.0

    def due(self, step: int) -> bool:
        """Whether a trial should be made in the next sampled step, if it can be afforded."""
        return bool(self._trials) and step >= self._trials[0]

    def begin(self, *, trial: bool) -> None:
        """The next batch is kept; `trial`: and tried."""
        if self._abandoned:
            return
        self._capture = None
        self._listening = True
        self._try = trial
        if trial and not self._handles:
            self._handles = [
                each.register_step_pre_hook(self._before) for each in self._optimizers
            ]
        elif not trial:
            self._let_go()
        if self._tap is None and not isinstance(self._model, torch.jit.ScriptModule):
            self._tap = self._model.register_forward_hook(BatchTap(self), with_kwargs=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        """What the model is called with meanwhile is no batch of a step."""
        listening, self._listening = self._listening, False
        try:
            yield
        finally:
            self._listening = listening

    def end(self) -> None:
        """Keeps nothing until `begin`."""
        self._listening = False
        self._capture = None
        self._let_go()
        if not self._abandoned:
            self._untap()

    def abandon(self) -> None:
        """Measures no more, but leaves the hook: a graph compiled with it needs it."""
        self._abandoned = True
        self.end()

    def detach(self) -> None:
        """Takes the hooks away."""
        self._listening = False
        self._capture = None
        self._untap()
        self._let_go()

    def take_trial_seconds(self) -> float:
        """What trials cost since this was last asked; a snapshot's price is without them."""
        seconds, self._trial_seconds = self._trial_seconds, 0.0
        return seconds

    def take(self) -> Capture | None:
        """What this step's batch left; forgets it."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.question = None
            capture.calls, self._calls = self._calls, Calls()
        self._last = None
        return capture

    def note(self, args: tuple[object, ...], kwargs: Mapping[str, object], out: object) -> None:
        """Keeps what is wanted of a call of the model; the first of a step counts."""
        start = perf_counter()
        try:
            if self._listening and not torch.is_grad_enabled():
                self._count(args, kwargs)
            elif self._listening and self._capture is None:
                self._keep(args, kwargs, out)
        except Exception as error:  # noqa: BLE001  # nothing may reach the user's forward pass
            self._listening = False
            self._fail(f"batches are not measured: {error}")
        self._meter.seconds += perf_counter() - start

    def _count(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Counts a call that nobody learns from: a validation, as a rule.

        Calls on the same inputs again and again are samples of a network that is uncertain on
        purpose (dropout left on), and are counted apart.
        """
        inputs = first_inputs(args, kwargs)
        if inputs is None:
            return
        # Changes in place are counted, but not for those made in inference mode.
        version = 0 if inputs.is_inference() else inputs._version  # noqa: SLF001  # torch's count
        now = inputs.data_ptr(), version
        again, self._last = now == self._last, now
        kind = "again" if again else "training" if self._model.training else "evaluation"
        self._calls = self._calls._replace(**{kind: getattr(self._calls, kind) + 1})

    @torch.no_grad()
    def _keep(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], out: object
    ) -> None:
        inputs = first_inputs(args, kwargs)
        if inputs is None or inputs.device.type == "meta":
            return
        if inputs.is_cuda and torch.cuda.is_current_stream_capturing():
            return  # what is captured here would run again at every replay of the CUDA graph
        further = further_inputs(args, kwargs, len(inputs))
        capture = Capture(
            len(inputs),
            self._model.training,
            Piece(features(inputs)),
            [Piece(features(each)) for each in further],
        )
        self._capture = capture
        steps = inputs.shape[1] if 1 < inputs.ndim < 4 else 0
        output = first_answers(out, len(inputs), steps)
        if output is None:
            return
        answer = by_example(output, len(inputs))
        if (rows := flat_answers(answer)) is None:
            return
        capture.output, capture.listed = Piece(rows), answer.ndim < 3
        capture.width = answer[0].numel()
        if not capture.listed:
            capture.places = Places(answer, capture.examples)
        if output.requires_grad:
            output.register_hook(GradientTap(self, capture))  # type: ignore[no-untyped-call]  # torch has no types here
        if self._try:
            capture.question = question(args, kwargs, inputs, output)

    def note_gradient(self, capture: Capture, gradient: Tensor) -> None:
        """Keeps the gradient at the answers."""
        start = perf_counter()
        try:
            if capture is self._capture and capture.gradient is None:
                capture.uncleared = self._clearing.left()
                with torch.no_grad():
                    pull = by_example(gradient, capture.examples)
                    rows = flat_answers(pull)
                    capture.gradient = None if rows is None else Piece(rows)
                    if capture.places is not None:
                        capture.pulls = Places(pull, capture.examples)
        except Exception as error:  # noqa: BLE001  # nothing may reach the user's backward pass
            self._fail(f"targets are not measured: {error}")
        self._meter.seconds += perf_counter() - start

    def _before(self, _optimizer: Optimizer, _args: object, _kwargs: object) -> None:
        """Step pre-hook: the backward pass is over and the weights are still those it saw."""
        capture = self._capture
        if capture is None or capture.question is None:
            return
        start = perf_counter()
        asked, capture.question = capture.question, None
        self._trials.pop(0)
        try:
            # Hooks of somebody else may have come since the last time.
            if fit(self._model):
                with torch.no_grad(), self.away():
                    capture.reply = ask(self._model, asked)
                    self._graph.trace(lambda: connected(self._model, asked), self._fail)
            else:
                self._trials.clear()
        except Exception:  # noqa: BLE001  # a model that runs only as its author calls it
            self._trials.clear()
        seconds = perf_counter() - start
        self._trial_seconds += seconds
        self._meter.seconds += seconds

    def _let_go(self) -> None:
        """Takes the hooks off the optimizers."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _untap(self) -> None:
        if self._tap is not None:
            self._tap.remove()
            self._tap = None


class BatchTap(Hook):
    """The forward hook on the whole model."""

    __slots__ = ("_batches",)

    def __init__(self, batches: Batches) -> None:
        """Belongs to one instrument."""
        self._batches = batches

    def __call__(
        self,
        _module: nn.Module,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        output: object,
    ) -> None:
        """Looks at a call; never raises, never changes anything."""
        if not torch.compiler.is_compiling() and not in_backward():
            self._batches.note(args, kwargs, output)


class GradientTap:
    """The hook on one output tensor, which lives as long as that does."""

    __slots__ = ("_batches", "_capture")
    __torch_unserializable__ = True
    """Tensors with hooks warn when they are saved; this one need not."""

    def __init__(self, batches: Batches, capture: Capture) -> None:
        """Belongs to one output."""
        self._batches = batches
        self._capture = capture

    def __call__(self, gradient: Tensor) -> None:
        """Looks at the gradient; never raises, never changes it."""
        self._batches.note_gradient(self._capture, gradient)
