"""The instruments on one model and its optimizers, and when they measure.

A sampled step goes like this: forward hooks reduce activations, the optimizer's step pre-hook
reads gradients and keeps the weights, its post-hook measures weights and updates, and `step`
starts one copy of all results to the host. In other steps nothing is hooked into the model.
"""

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from time import perf_counter, thread_time
from typing import Final

import torch
from torch import nn
from torch.optim import Optimizer

from backslide.contract import Role
from backslide.measure.assemble import Assembler
from backslide.measure.batches.batches import Batches
from backslide.measure.batches.undisturbed import fit
from backslide.measure.cadence import Cadence
from backslide.measure.flight import Flight, Flights, Sample
from backslide.measure.graph.trace import trace_on
from backslide.measure.instruments.activations import Activations
from backslide.measure.instruments.graph import Graph
from backslide.measure.instruments.names import compiled, sharded, unwrapped
from backslide.measure.instruments.parameters import Parameters
from backslide.measure.instruments.start import Start
from backslide.measure.instruments.steps import Steps
from backslide.measure.instruments.tensors import local
from backslide.measure.layout import Layout
from backslide.measure.meter import Meter
from backslide.measure.snapshot import Snapshot
from backslide.measure.spare import Spare
from backslide.measure.summary import Summary

PATIENCE: Final = 64
"""Calls of `step` that a sampled step waits for an optimizer's step: gradient accumulation, or
steps skipped under mixed precision."""

BLIND: Final = 3
"""Sampled steps without any activation before that is reported."""

IN_GRAPH: Final = (
    "inputs, targets and trials are not measured: the model is compiled; activations, "
    "gradients, weights and updates are"
)

_watching: weakref.WeakKeyDictionary[nn.Module | Optimizer, weakref.ref["Watch"]] = (
    weakref.WeakKeyDictionary()
)
"""Who watches what: a notebook cell that is run again replaces its hooks."""


class Watch:
    """Watches one model and its optimizers; a guest that never raises after construction.

    Args:
        model: its leaf modules' outputs are measured in training mode. None: optimizers alone,
            whose parameters go by their positions.
        optimizers: their steps are when gradients, weights and updates are read. Without any,
            weights are read at the end of a step and there are no gradients.
        overhead: share of training time that watching may cost, as a fraction; None: every step
            is sampled.

    Attributes:
        rest: steps from now on that may end without a call of `step`: nothing will be measured
            in them. What most steps are: between the kernels of a network nothing of Python is
            in the caches, and each function called costs microseconds.

    Raises:
        ValueError: `overhead` is not a fraction.
    """

    def __init__(
        self,
        model: nn.Module | None,
        optimizers: Iterable[Optimizer] = (),
        *,
        overhead: float | None = 0.01,
    ) -> None:
        """Attaches; replaces an earlier watch of the same model or optimizer."""
        self._cadence = Cadence(overhead)
        self._problems: dict[str, None] = {}
        optimizers = list(optimizers)
        bare = None if model is None else unwrapped(model)
        self._model = bare
        for target in (*optimizers, *(() if bare is None else (bare,))):
            earlier = _watching.get(target, lambda: None)()
            if earlier is not None:
                earlier.detach()
            _watching[target] = weakref.ref(self)
        if bare is not None and sharded(bare):
            self._fail(
                "the model is sharded over processes: what is measured of gradients, weights "
                "and updates is this process's part"
            )
        self._meter = Meter()
        self._layout = Layout()
        self._graph = Graph()
        self._flights = Flights(Assembler(self._layout, self._graph.depth), self._fail)
        self._parameters = Parameters(bare, self._layout)
        self._start = Start(bare)
        self._steps = Steps(optimizers, self._parameters, self._start, self._meter, self._fail)
        self._activations = None if bare is None else self._outputs(bare)
        self._batches = None if model is None or bare is None else self._inputs(model, bare)
        self._turn = 0
        self._spare = Spare()
        self._sample: Sample | None = None
        self._closed = False
        self._step: int | None = None
        self._last = perf_counter()
        self.rest = 0
        self._begin()

    @property
    def problems(self) -> tuple[str, ...]:
        """What can't be measured and why, one line each."""
        return tuple(self._problems)

    def graph(self) -> dict[str, object]:
        """What `backslide/graph.json` holds: modules in the order they ran, and the start."""
        graph = self._graph
        return {**graph.to_dict(self._model), **self._start.to_dict(graph.dropping)}

    def step(self, step: int) -> list[Snapshot]:
        """Ends a training step; returns the snapshots that are complete, oldest first.

        Args:
            step: number of the step that is over; those left out since the last call count too.
        """
        if self._closed:
            return []
        passed = 1 if self._step is None else max(step - self._step, 1)
        self._step = step
        sample = self._sample
        if sample is None and not self._flights.under_way:
            self._idle(passed)
            return []
        start, ran = perf_counter(), 0.0 if sample is None else thread_time()
        ready: list[Snapshot] = []
        try:
            if sample is not None and self._over(sample):
                self._sample = None
                self._send(step, sample)
            ready = self._flights.landed(self._cadence.share)
        except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
            self._fail(f"step {step} could not be measured: {error}")
        now = perf_counter()
        cost = self._meter.take() + now - start
        price = None
        if sample is not None:
            self._cadence.ran(thread_time() - ran, now - start)
            aside = 0.0 if self._batches is None else self._batches.take_trial_seconds()
            sample.cost += cost - aside
            price = sample.cost + self._flights.surcharge if self._sample is None else None
        cost += self._flights.take_hidden()
        due = self._cadence.step(now - self._last, cost, price, steps=passed)
        self._last = now
        if self._sample is None:
            if due and self._flights.room:
                self._begin()
            elif sample is not None:
                self._unhook()
            self._plan()
            self._meter.seconds += perf_counter() - now
        return ready

    def _idle(self, passed: int) -> None:
        """Ends steps in which nothing was measured."""
        now, cost = perf_counter(), self._meter.take()
        due = self._cadence.step(now - self._last, cost, steps=passed)
        self._last = now
        if due:
            self._begin()
        self._plan()
        self._meter.seconds += perf_counter() - now

    def _plan(self) -> None:
        """Says how long it need not be called."""
        waits = self._sample is not None or self._flights.under_way
        self.rest = 0 if waits else self._cadence.rest

    def trace(self, inputs: object) -> None:
        """Runs the model on two examples, if nobody has yet, to see how modules are connected.

        Args:
            inputs: what the model is called with, one row an example.
        """
        model = self._model
        if model is not None and not sharded(model):
            self._graph.trace(lambda: trace_on(model, inputs), self._fail)

    @contextmanager
    def away(self) -> Iterator[None]:
        """What the model does meanwhile, in evaluation mode, is no part of a step."""
        with nullcontext() if self._batches is None else self._batches.away():
            yield

    def charge(self, seconds: float) -> None:
        """Counts what it cost to keep the snapshots as part of watching."""
        self._meter.seconds += seconds

    def charge_scalars(self, seconds: float) -> None:
        """Counts what it cost to keep a step's scalars: less is left for looking inside."""
        self._cadence.scalars(seconds)

    def close(self) -> list[Snapshot]:
        """Takes all hooks away and returns what is left, waiting for copies under way."""
        self.detach()
        try:
            return self._flights.landed(self._cadence.share, wait=True)
        except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
            self._fail(f"the last snapshots are lost: {error}")
            return []

    def detach(self) -> None:
        """Takes all hooks away; snapshots under way can still be had from `close`."""
        self._closed = True
        self._sample = None
        self._steps.detach()
        if self._activations is not None:
            self._activations.detach()
        if self._batches is not None:
            self._batches.detach()

    def _outputs(self, bare: nn.Module) -> Activations | None:
        """The instrument on a model's outputs, if hooks can fire in it."""
        for name, module in bare.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                part = name or type(module).__name__
                self._fail(f"activations inside {part} are not measured: a ScriptModule")
                break
        return Activations(bare, self._activation, self._graph, self._meter, self._fail)

    def _inputs(self, model: nn.Module, bare: nn.Module) -> Batches | None:
        """The instrument on whole batches, which has no place in a compiled graph."""
        if compiled(model):
            self._fail(IN_GRAPH)
            return None
        return Batches(
            bare,
            self._steps.optimizers,
            clearing=self._steps.clearing,
            trials=bare is model and fit(bare),
            graph=self._graph,
            meter=self._meter,
            fail=self._fail,
        )

    def _activation(self, name: str, kind: str) -> int:
        """The row of a module's output."""
        return self._layout.key(Role.ACTIVATION, name, name, kind)

    def _fail(self, problem: str) -> None:
        self._problems[problem] = None

    def _begin(self) -> None:
        """Opens a sampled step."""
        summary = Summary(self._turn, self._spare)
        self._sample = Sample(summary)
        self._steps.begin(summary, self._turn)
        self._turn += 1
        if self._batches is not None and self._cadence.wants_batch():
            # A trial is two to four evaluations of a few examples: about one step's time.
            cadence = self._cadence
            due = self._batches.due(cadence.steps) and cadence.spares(cadence.step_seconds)
            self._batches.begin(trial=due)
        elif self._batches is not None:
            self._batches.end()
        if self._activations is not None:
            try:
                self._activations.begin(summary)
            except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
                self._activations = None
                self._fail(f"activations are not measured: hooks could not be set: {error}")

    def _unhook(self) -> None:
        """Sets nothing in the way of unsampled steps."""
        self._steps.end()
        if self._activations is not None:
            self._activations.end()
        if self._batches is not None:
            self._batches.end()

    def _over(self, sample: Sample) -> bool:
        """Whether a sampled step has seen what it waits for: with optimizers, one's step."""
        sample.calls += 1
        if self._steps.seen or not self._steps.optimizers:
            return True
        if sample.calls < PATIENCE:
            return False
        self._fail(
            f"gradients and updates are missing: no optimizer took a step in {PATIENCE} steps"
        )
        return True

    @torch.no_grad()
    def _send(self, step: int, sample: Sample) -> None:
        """Starts the copy of a sampled step's results."""
        if not self._steps.optimizers:
            for parameter in self._parameters.trained():
                row = self._parameters.of(parameter).weight
                sample.summary.add(row, local(parameter.detach()))
        capture = None if self._batches is None else self._batches.take()
        if capture is not None:
            capture.optimizer_steps = self._steps.taken
        transfer = sample.summary.finish()
        self._flights.start(
            Flight(step, time.time(), sample, transfer, self._steps.rates, capture)
        )
        if self._activations is not None:
            self._listen(self._activations)

    def _listen(self, activations: Activations) -> None:
        """Finds out whether hooks fire, and says so when they don't."""
        if activations.traced and self._batches is not None:
            self._batches.abandon()
            self._batches = None
            self._fail(IN_GRAPH)
        if activations.silence == BLIND:
            if not activations.fired:
                activations.abandon()
                if self._batches is not None:
                    self._batches.abandon()
            self._fail(
                "activations are not measured: no module of this model ran in training mode in "
                f"{BLIND} steps (compiled before the start, or another model is trained?)"
            )
        elif self._turn == BLIND and (unseen := activations.unseen()):
            names = ", ".join(unseen[:3]) + (", ..." if len(unseen) > 3 else "")
            self._fail(f"no output of {len(unseen)} modules was seen in {BLIND} steps: {names}")
