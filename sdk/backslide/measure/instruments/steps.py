"""An optimizer's step, read from both sides: gradients before it, weights and updates after."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from backslide.measure.instruments.clearing import Clearing
from backslide.measure.instruments.clipping import Clips
from backslide.measure.instruments.gradients import gradients, has_closure, scaling
from backslide.measure.instruments.parameters import Named, Parameters, trained
from backslide.measure.instruments.rates import learning_rates
from backslide.measure.instruments.start import Start
from backslide.measure.instruments.updates import Before, Updates
from backslide.measure.meter import Meter
from backslide.measure.summary import Summary


@dataclass(frozen=True, eq=False)
class _Begun:
    """A step that has begun: what it will change, how that was, and whose gradients are new."""

    parameters: list[Tensor]
    named: list[Named]
    old: Before
    closure: bool


@dataclass(eq=False)
class _Sample:
    """What was seen so far of the optimizers in a sampled step; each counts once."""

    summary: Summary
    turn: int
    parameters: set[int] = field(default_factory=set)
    begun: dict[Optimizer, _Begun] = field(default_factory=dict)
    over: set[Optimizer] = field(default_factory=set)
    rates: dict[str, float] = field(default_factory=dict)


class Steps:
    """Hooks into optimizers; idle outside sampled steps.

    Attributes:
        taken: steps of all of them so far.
        clearing: of a single optimizer, whether its gradients were cleared after its last step.

    Args:
        optimizers: each with its own parameters; one shared by several counts for the first.
        parameters: knows their names and rows.
        started: told when the first step comes, and of which optimizers.
        meter: told what the hooks cost.
        fail: told what could not be measured and why; a hook never raises.
    """

    def __init__(
        self,
        optimizers: Iterable[Optimizer],
        parameters: Parameters,
        started: Start,
        meter: Meter,
        fail: Callable[[str], None],
    ) -> None:
        """Sets the hooks."""
        self._parameters = parameters
        self._started = started
        self._meter = meter
        self._fail = fail
        self._sample: _Sample | None = None
        self.taken = 0
        self.clearing = Clearing()
        self._clips = Clips(fail)
        self.optimizers = [
            found for each in optimizers if (found := self._hookable(each)) is not None
        ]
        self._updates = {optimizer: Updates() for optimizer in self.optimizers}
        self._handles: list[RemovableHandle] = []
        for optimizer in self.optimizers:
            self._handles += (
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(self._after),
            )

    @property
    def seen(self) -> bool:
        """Whether an optimizer has completed a step since `begin`."""
        return self._sample is not None and bool(self._sample.over)

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates of the steps since `begin`, by metric key."""
        return {} if self._sample is None else self._sample.rates

    def begin(self, summary: Summary, turn: int) -> None:
        """The next step of each optimizer goes to `summary`."""
        if self._sample is None:
            self.clearing.forget()
        self._sample = _Sample(summary, turn)
        self._clips.begin()

    def end(self) -> None:
        """Measures no more steps until `begin`."""
        self._sample = None
        self._clips.end()

    def detach(self) -> None:
        """Takes the hooks away."""
        self.end()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hookable(self, optimizer: Optimizer) -> Optimizer | None:
        """The optimizer that has step hooks: wrappers (accelerate's) hold it inside."""
        inner = getattr(optimizer, "optimizer", None)
        found = inner if isinstance(inner, Optimizer) else optimizer
        if hasattr(found, "_optimizer_step_pre_hooks"):
            return found
        kind = type(optimizer).__name__
        self._fail(f"gradients and updates are not measured: {kind} has no step hooks")
        return None

    def _first_group(self, optimizer: Optimizer) -> int:
        """Number of an optimizer's first parameter group among those of all."""
        before_it = self.optimizers[: self.optimizers.index(optimizer)]
        return sum(len(each.param_groups) for each in before_it)

    def _before(
        self, optimizer: Optimizer, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """Step pre-hook: gradients are final and weights still old.

        In a step that is not sampled there is nothing to it: even `no_grad` would take longer
        than all the rest.
        """
        sample = self._sample
        if sample is not None and optimizer not in sample.begun:
            self._look_before(sample, optimizer, args, kwargs)

    def _after(self, optimizer: Optimizer, _args: object, _kwargs: object) -> None:
        """Step post-hook: weights are new."""
        self.taken += 1
        sample = self._sample
        if sample is not None and optimizer not in sample.over:
            self._look_after(sample, optimizer)
        elif sample is not None:
            self.clearing.forget()

    @torch.no_grad()
    def _look_before(
        self,
        sample: _Sample,
        optimizer: Optimizer,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        """Reads gradients, and what the step will change."""
        start = perf_counter()
        try:
            parameters = [
                tensor
                for tensor in trained(optimizer.param_groups)
                if id(tensor) not in sample.parameters
            ]
            self._started.stepping(self.optimizers)
            sample.parameters.update(map(id, parameters))
            sample.rates |= learning_rates(optimizer, self._first_group(optimizer))
            named = [self._parameters.of(tensor) for tensor in parameters]
            scaled = scaling(optimizer)
            # With a closure, the gradients at hand are those of the step before.
            closure = has_closure(args, kwargs)
            with sample.summary.timing.over(parameters):
                if not closure:
                    gradients(sample.summary, parameters, named, scaled, self._clips)
                old = self._updates[optimizer].before(parameters, sample.turn, scaled)
            sample.begun[optimizer] = _Begun(parameters, named, old, closure)
        except Exception as error:  # noqa: BLE001  # nothing may reach the user's optimizer
            self._fail(f"gradients could not be measured: {error}")
        self._meter.seconds += perf_counter() - start

    @torch.no_grad()
    def _look_after(self, sample: _Sample, optimizer: Optimizer) -> None:
        """Reads weights, and what the step has changed."""
        start = perf_counter()
        sample.over.add(optimizer)
        try:
            begun = sample.begun.get(optimizer)
            if begun is not None:
                summary, parameters, named = sample.summary, begun.parameters, begun.named
                with summary.timing.over(parameters):
                    if begun.closure:
                        gradients(summary, parameters, named, None, self._clips)
                    self._updates[optimizer].after(summary, parameters, named, begun.old)
                if len(self.optimizers) == 1 and not begun.closure:
                    self.clearing.stepped(parameters)
        except Exception as error:  # noqa: BLE001  # nothing may reach the user's optimizer
            self._fail(f"updates could not be measured: {error}")
        self._meter.seconds += perf_counter() - start
