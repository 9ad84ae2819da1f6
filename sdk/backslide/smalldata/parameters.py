"""Does every parameter require, get and follow its gradient? Seen in a few real steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from backslide.smalldata.data import Examples
from backslide.smalldata.recipe import Named, Recipe
from backslide.smalldata.verdict import Defect, Kind

VANISHED: Final = 1e-4

Training: TypeAlias = tuple[nn.Module, torch.optim.Optimizer, Examples]


@dataclass
class Watch:
    """What happened to the trainable parameters over some steps."""

    arrived: set[str] = field(default_factory=set)
    nonzero: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    norms: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0
    """Largest movement of a parameter over its gradient, in one step."""
    optimizer_steps: int = 0
    just_updated: bool = False
    followed: bool = False
    """The optimizer once had gradients to follow."""


def held_by(optimizer: torch.optim.Optimizer) -> set[int]:
    """Identities of the parameters that an optimizer was given."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def left_out(
    recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer
) -> list[Defect]:
    """Parameters that cannot learn, to be seen before any step."""
    held = held_by(optimizer)
    all_named = list(model.named_parameters())
    frozen = [n for n, p in all_named if not p.requires_grad and not recipe.declared_frozen(n)]
    missing = [n for n, p in recipe.trainable(model) if id(p) not in held]
    found = []
    if frozen:
        found.append(
            _count("frozen-params", frozen, len(all_named), "do not require gradients")
        )
    if missing:
        found.append(
            _count("not-in-optimizer", missing, len(all_named), "are not in the optimizer")
        )
    return found


def _count(cause: str, names: list[str], total: int, what: str) -> Defect:
    sentence = f"{len(names)} of {total} parameters {what}: {some(names)}."
    return Defect(Kind.CODE, cause, sentence, {"parameters": len(names), "of": total})


def watched_step(recipe: Recipe, training: Training, named: list[Named], watch: Watch) -> float:
    """One step of the user's with hooks on every parameter's gradient."""
    model, optimizer, examples = training
    fresh: dict[str, Tensor] = {}
    after_update = watch.just_updated
    before = {name: p.detach().clone() for name, p in named}

    def arriving(name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            watch.arrived.add(name)
            fresh.setdefault(name, gradient.detach().clone())

        return hook

    def arrived(name: str) -> Callable[[Tensor], None]:
        first = [True]

        def hook(parameter: Tensor) -> None:
            # Only the first gradient after an update can be stale; later ones in the same step
            # may well be accumulated on purpose.
            gradient = parameter.grad
            if not first[0] or gradient is None or gradient.layout != torch.strided:
                return
            first[0] = False
            if bool(gradient.any()):
                watch.nonzero.add(name)
            watch.norms[name] = _rms(gradient)
            new = fresh.get(name)
            if after_update and new is not None and new.layout == torch.strided:
                same = torch.allclose(gradient, new, rtol=1e-4, atol=1e-12, equal_nan=True)
                if not same:
                    watch.stale.add(name)

        return hook

    def counted(*_: object) -> None:
        watch.optimizer_steps += 1
        watch.followed |= any(p.grad is not None and bool(p.grad.any()) for _, p in named)

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, parameter in named:
        hooks += [
            parameter.register_hook(arriving(name)),  # type: ignore[no-untyped-call]  # torch's lack
            parameter.register_post_accumulate_grad_hook(arrived(name)),  # type: ignore[no-untyped-call]  # torch's lack
        ]
    if isinstance(optimizer, torch.optim.Optimizer):
        hooks.append(optimizer.register_step_post_hook(counted))
    try:
        loss = recipe.step(model, optimizer, examples)
    finally:
        for handle in hooks:
            handle.remove()
    away = {name: _rms(p.detach() - before[name]) for name, p in named}
    moved = {name for name, distance in away.items() if distance != 0.0}
    watch.moved |= moved
    rates = [away[name] / watch.norms[name] for name in moved if watch.norms.get(name)]
    watch.rate = max([watch.rate, *(rate for rate in rates if math.isfinite(rate))])
    watch.just_updated = bool(moved)
    # Sparse gradients (embeddings) have no dense hook value; that they arrived is enough.
    watch.nonzero |= {n for n, g in fresh.items() if g.layout != torch.strided}
    return loss


def without_effect(named: list[Named], watch: Watch, steps: int) -> list[Defect]:
    """Parameters that got no gradient, a stale one, or did not move, in so many steps."""
    names, total = [name for name, _ in named], len(named)
    found = []
    lost = [name for name in names if name not in watch.arrived]
    if lost:
        what = f"got no gradient in {steps} steps"
        found.append(_count("no-gradient", lost, total, what))
    stuck = [
        name
        for name, p in named
        if name in watch.nonzero and name not in watch.moved and not _rounded(p, name, watch)
    ]
    if stuck:
        if watch.followed:
            why = f"though the optimizer stepped {watch.optimizer_steps} times"
        elif watch.optimizer_steps:
            why = "as the gradients were gone by the time optimizer.step() ran"
        else:
            why = "and optimizer.step() was not called"
        defect = _count("not-moving", stuck, total, f"got gradients but never moved, {why}")
        found.append(
            Defect(
                Kind.OPTIMIZER if watch.followed else Kind.CODE,
                defect.cause,
                defect.sentence,
                {**defect.numbers, "optimizer_steps": watch.optimizer_steps},
            )
        )
    if watch.stale:
        stale = [name for name in names if name in watch.stale]
        what = "still held the previous step's gradient when the next one was added"
        found.append(_count("stale-gradients", stale, total, what))
    return found


def _rounded(parameter: nn.Parameter, name: str, watch: Watch) -> bool:
    """Whether a step like those of the others would be lost in rounding: that is no defect."""
    step = watch.rate * watch.norms.get(name, math.inf)
    least = torch.finfo(parameter.dtype).eps * _rms(parameter.detach())
    return watch.rate > 0.0 and step < least


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def faint(named: list[Named], watch: Watch) -> list[Defect]:
    """Gradients that are zero, or all but vanish on their way to the first layer."""
    weights = [name for name, p in named if p.ndim > 1 and name in watch.norms]
    zero = [name for name in weights if name not in watch.nonzero]
    if zero:
        what = "got a gradient of exactly zero"
        return [_count("zero-gradient", zero, len(named), what)]
    if len(weights) < 3:
        return []
    first, last = watch.norms[weights[0]], watch.norms[weights[-1]]
    if not (math.isfinite(first) and math.isfinite(last)) or first >= VANISHED * last:
        return []
    sentence = (
        f"The gradient shrinks from {last:.1e} at {weights[-1]} to {first:.1e} at {weights[0]}."
    )
    numbers = {"first_gradient_rms": first, "last_gradient_rms": last}
    return [Defect(Kind.CODE, "vanishing-gradient", sentence, numbers)]


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
