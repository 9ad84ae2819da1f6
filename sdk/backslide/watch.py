"""The instruments on one model and its optimizers, and when they measure.

A sampled step goes like this: forward hooks reduce activations, the optimizer's step pre-hook
reads gradients and keeps the weights, its post-hook measures weights and updates, and `step`
starts one copy of all results to the host. In other steps nothing is hooked into the model.
"""

import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from backslide.assemble import Assembler
from backslide.cadence import Cadence
from backslide.contract import Role
from backslide.instruments import activations, gradients, updates
from backslide.instruments.activations import Activations
from backslide.instruments.graph import Graph
from backslide.instruments.parameters import Named, Parameters, trained
from backslide.layout import Layout
from backslide.meter import Meter
from backslide.snapshot import Snapshot
from backslide.summary import Scaled, Summary, Transfer

PATIENCE: Final = 64
"""Steps to wait for the optimizer's step in a sampled step (accumulation) before going on."""

IN_FLIGHT: Final = 8
"""Snapshots on their way from a device at most."""

BLIND: Final = 3
"""Sampled steps without any activation before that is reported."""

_watching: weakref.WeakKeyDictionary[nn.Module | Optimizer, weakref.ref["Watch"]] = (
    weakref.WeakKeyDictionary()
)
"""Who watches what: a cell that is run again replaces its hooks instead of adding to them."""


@dataclass(frozen=True, eq=False)
class _Step:
    """An optimizer's step that has begun: what it will change, and how that was."""

    parameters: list[Tensor]
    old: updates.Before
    closure: bool


@dataclass(eq=False)
class _Sample:
    """A sampled step that is not over yet."""

    turn: int
    summary: Summary
    steps: int = 0
    cost: float = 0.0
    seen: set[int] = field(default_factory=set)
    begun: dict[Optimizer, _Step] = field(default_factory=dict)
    stepped: set[Optimizer] = field(default_factory=set)


class Watch:
    """Watches one model and its optimizers; a guest that never raises after construction.

    Args:
        model: its leaf modules' outputs are measured in training mode. None: optimizers alone,
            whose parameters go by their positions.
        optimizers: their steps are when gradients, weights and updates are read. Without any,
            weights are read at the end of a step and there are no gradients.
        overhead: share of training time that watching may cost, as a fraction; None: every step
            is sampled.

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
        self._meter = Meter()
        self._layout = Layout()
        self._graph = Graph()
        self._assembler = Assembler(self._layout, self._graph.depth)
        self._parameters = Parameters(model)
        self._optimizers = [
            bare for optimizer in optimizers if (bare := self._bare(optimizer)) is not None
        ]
        self._activations = None if model is None else self._outputs(model)
        self._turn = 0
        self._flying: list[tuple[int, float, Transfer]] = []
        self._sample: _Sample | None = None
        self._closed = False
        self._handles: list[RemovableHandle] = []
        for target in (*self._optimizers, *(() if model is None else (model,))):
            earlier = _watching.get(target, lambda: None)()
            if earlier is not None:
                earlier.detach()
            _watching[target] = weakref.ref(self)
        for optimizer in self._optimizers:
            self._handles += [
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(self._after),
            ]
        self._begin()
        self._last = perf_counter()

    @property
    def problems(self) -> tuple[str, ...]:
        """What can't be measured and why, one line each."""
        return tuple(self._problems)

    @property
    def overhead(self) -> float:
        """Share of training time spent on watching so far, as a fraction."""
        return self._cadence.share

    def graph(self) -> dict[str, list[dict[str, object]]]:
        """The modules in the order they ran."""
        return self._graph.to_dict()

    def step(self, step: int) -> list[Snapshot]:
        """Ends a training step; returns the snapshots that are complete, oldest first.

        Args:
            step: number of the step that is over.
        """
        if self._closed:
            return []
        start = perf_counter()
        sample = self._sample
        ready: list[Snapshot] = []
        try:
            if sample is not None and self._complete(sample):
                self._sample = None
                self._send(step, sample)
            ready = self._arrived()
        except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
            self._fail(f"step {step} could not be measured: {error}")
        cost = self._meter.take() + perf_counter() - start
        price = None
        if sample is not None:
            sample.cost += cost
            price = sample.cost if self._sample is None else None
        due = self._cadence.step(start - self._last, cost, price)
        self._last = start
        if self._sample is None:
            decided = perf_counter()
            self._begin() if due and len(self._flying) < IN_FLIGHT else self._rest()
            self._meter.seconds += perf_counter() - decided
        return ready

    def close(self) -> list[Snapshot]:
        """Takes all hooks away and returns what is left, waiting for copies under way."""
        self.detach()
        try:
            return self._arrived(wait=True)
        except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
            self._fail(f"the last snapshots are lost: {error}")
            return []

    def detach(self) -> None:
        """Takes all hooks away; snapshots under way can still be had from `close`."""
        self._closed = True
        self._sample = None
        self._rest()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _bare(self, optimizer: Optimizer) -> Optimizer | None:
        """The optimizer that has step hooks: wrappers (accelerate) hold it inside."""
        inner = getattr(optimizer, "optimizer", optimizer)
        found = inner if isinstance(inner, Optimizer) else optimizer
        if hasattr(found, "_optimizer_step_pre_hooks"):
            return found
        self._fail(
            f"{type(optimizer).__name__} has no step hooks: its gradients are not measured"
        )
        return None

    def _outputs(self, model: nn.Module) -> Activations | None:
        """The instrument on a model's outputs, where hooks can fire."""
        scripted = [
            name or type(module).__name__
            for name, module in model.named_modules()
            if isinstance(module, torch.jit.ScriptModule)
        ]
        if scripted:
            self._fail(
                f"activations inside {scripted[0]!r} are not measured: it is a ScriptModule"
            )
        if activations.compiled(model):
            self._fail(
                "activations are not measured: the model is compiled; gradients, weights and "
                "updates are"
            )
            return None
        return Activations(model, self._activation_key, self._graph, self._meter, self._fail)

    def _activation_key(self, name: str, kind: str) -> int:
        return self._layout.key(Role.ACTIVATION, name, name, kind)

    def _keys(self, role: Role, parameters: list[Named]) -> list[int]:
        return [
            self._layout.key(role, named.name, named.module, named.kind) for named in parameters
        ]

    def _fail(self, problem: str) -> None:
        self._problems[problem] = None

    def _begin(self) -> None:
        """Opens a sampled step."""
        self._sample = _Sample(self._turn, Summary(self._turn))
        self._turn += 1
        if self._activations is not None:
            try:
                self._activations.begin(self._sample.summary)
            except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
                self._activations = None
                self._fail(f"activations are not measured: {error}")

    def _rest(self) -> None:
        if self._activations is not None:
            self._activations.end()

    def _complete(self, sample: _Sample) -> bool:
        """Whether the step saw what it waits for: with optimizers, the step of one of them."""
        sample.steps += 1
        if sample.stepped or not self._optimizers:
            return True
        if sample.steps < PATIENCE:
            return False
        self._fail(f"no optimizer took a step in {PATIENCE} steps: gradients are not measured")
        return True

    @torch.no_grad()
    def _before(
        self, optimizer: Optimizer, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """Step pre-hook: gradients are final, weights are still old."""
        sample = self._sample
        if sample is None or optimizer in sample.begun:
            return
        start = perf_counter()
        try:
            seen = sample.seen
            parameters = [
                tensor for tensor in trained(optimizer.param_groups) if id(tensor) not in seen
            ]
            seen.update(id(tensor) for tensor in parameters)
            scaled = gradients.scaling(optimizer)
            closure = gradients.has_closure(args, kwargs)
            if not closure:
                self._gradients(sample, parameters, scaled)
            old = updates.before(parameters, sample.turn, scaled)
            sample.begun[optimizer] = _Step(parameters, old, closure)
        except Exception as error:  # noqa: BLE001  # nothing may reach the optimizer
            self._fail(f"gradients could not be measured: {error}")
        self._meter.seconds += perf_counter() - start

    @torch.no_grad()
    def _after(self, optimizer: Optimizer, _args: object, _kwargs: object) -> None:
        """Step post-hook: weights are new."""
        sample = self._sample
        if sample is None or optimizer in sample.stepped:
            return
        start = perf_counter()
        sample.stepped.add(optimizer)
        try:
            step = sample.begun.get(optimizer)
            if step is not None:
                if step.closure:
                    self._gradients(sample, step.parameters, None)
                named = [self._parameters.of(tensor) for tensor in step.parameters]
                updates.weights(sample.summary, self._keys(Role.WEIGHT, named), step.parameters)
                updates.update(
                    sample.summary, self._keys(Role.UPDATE, named), step.parameters, step.old
                )
                step.old.kept.clear()
        except Exception as error:  # noqa: BLE001  # nothing may reach the optimizer
            self._fail(f"updates could not be measured: {error}")
        self._meter.seconds += perf_counter() - start

    def _gradients(
        self, sample: _Sample, parameters: list[Tensor], scaled: Scaled | None
    ) -> None:
        named = [self._parameters.of(tensor) for tensor in parameters]
        keys = self._keys(Role.GRADIENT, named)
        gradients.gradients(
            sample.summary, keys, parameters, [each.units for each in named], scaled
        )

    @torch.no_grad()
    def _send(self, step: int, sample: _Sample) -> None:
        """Starts the copy of a sampled step's results."""
        if not self._optimizers:
            found = self._parameters.all()
            keys = self._keys(Role.WEIGHT, [named for _, named in found])
            updates.weights(sample.summary, keys, [tensor for tensor, _ in found])
        self._flying.append((step, time.time(), sample.summary.finish()))
        if (
            self._activations is not None
            and sample.turn + 1 == BLIND
            and not self._activations.fired
        ):
            self._rest()
            self._activations = None
            self._fail(
                "activations are not measured: no module ran in training mode under Python's eyes "
                f"in {BLIND} sampled steps (compiled after the start, or called from elsewhere?)"
            )

    def _arrived(self, *, wait: bool = False) -> list[Snapshot]:
        """Snapshots whose copies are complete, in order."""
        ready = []
        while self._flying and (wait or self._flying[0][2].ready()):
            step, wall_time, transfer = self._flying.pop(0)
            ready.append(
                self._assembler.snapshot(step, wall_time, transfer.rows(), self._cadence.share)
            )
        return ready
