"""What can be seen exactly in a few real steps, before anything is learnt."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from backslide.smalldata.data import Examples, tensors
from backslide.smalldata.forward import Call, Tap, observe
from backslide.smalldata.recipe import Named, Recipe
from backslide.smalldata.task import Binary, Classes, Task, Unscored, Values
from backslide.smalldata.verdict import Defect, Kind

STEPS: Final = 2
SECOND_LOOK: Final = 8
"""Steps given to parameters that looked stuck: warm-up from zero, accumulation, branches
initialised at zero and skipped mixed-precision steps wake up within these."""
DEAD_SHARE: Final = 0.9
VANISHED: Final = 1e-4
MIXED: Final = 1e-3
"""Share of the outputs' spread by which one example's output may change with its companions."""
RESCALED: Final = 0.99
"""Correlation of a feature in two batches, down to which it counts as merely rescaled."""


@dataclass(frozen=True)
class Preflight:
    """What the first steps showed.

    Attributes:
        task: What the targets ask for.
        defects: Certain, whether or not training gets anywhere.
        symptoms: Found in healthy networks too; they name the cause where learning fails.
        fed_as_given: The step hands the inputs to the model as they are.
        notes: Sentences worth reading that prove nothing.
    """

    task: Task
    defects: tuple[Defect, ...]
    symptoms: tuple[Defect, ...]
    fed_as_given: bool
    notes: tuple[str, ...]


_Training: TypeAlias = tuple[nn.Module, torch.optim.Optimizer, Examples]


@dataclass
class _Watch:
    """What happened to the trainable parameters over some steps."""

    arrived: set[str] = field(default_factory=set)
    nonzero: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    norms: dict[str, float] = field(default_factory=dict)
    optimizer_steps: int = 0
    just_updated: bool = False
    followed: bool = False
    """The optimizer once had gradients to follow."""


def preflight(recipe: Recipe, examples: Examples, more: Examples, task: Task) -> Preflight:
    """Takes a few of the user's steps on a new model and looks at every parameter.

    Args:
        recipe: The user's parts.
        examples: The batch for the steps.
        more: A larger batch, to see whether examples stay by themselves.
        task: What the targets ask for.
    """
    model, optimizer = recipe.build()
    static = _static(recipe, model, optimizer)
    held = _ids(optimizer)
    named = [(name, p) for name, p in recipe.trainable(model) if id(p) in held]

    watch, dead = _Watch(), _DeadUnits(model)
    one_step = partial(_watched, recipe, (model, optimizer, examples), named, watch)
    with Tap(model) as tap, dead:
        first_loss = one_step()
    taken = 1
    while taken < STEPS or (
        taken < SECOND_LOOK and len(watch.moved & watch.nonzero) < len(named)
    ):
        one_step()
        taken += 1

    call = tap.call
    dynamic = _dynamic(named, watch, taken)
    symptoms = [
        *_fed_constant(call, examples),
        *_shapes(call.output, examples, task),
        *_probabilities(call.output, task),
        *dead.defects(call),
        *_gradients(named, watch),
    ]
    defects = static + dynamic
    if not defects and not isinstance(task, Unscored):
        defects += _mixing(recipe, more)
    return Preflight(
        task,
        tuple(defects),
        tuple(symptoms),
        _alike(list(tensors(examples.inputs)), call.fed),
        _notes(first_loss, call.output, task),
    )


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _ids(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _static(recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Defect]:
    held = _ids(optimizer)
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


def _watched(recipe: Recipe, training: _Training, named: list[Named], watch: _Watch) -> float:
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
            watch.norms[name] = float(gradient.double().square().mean().sqrt())
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
    moved = {name for name, p in named if not torch.equal(before[name], p.detach())}
    watch.moved |= moved
    watch.just_updated = bool(moved)
    # Sparse gradients (embeddings) have no dense hook value; that they arrived is enough.
    watch.nonzero |= {n for n, g in fresh.items() if g.layout != torch.strided}
    return loss


def _dynamic(named: list[Named], watch: _Watch, steps: int) -> list[Defect]:
    names, total = [name for name, _ in named], len(named)
    found = []
    lost = [name for name in names if name not in watch.arrived]
    if lost:
        what = f"got no gradient in {steps} steps"
        found.append(_count("no-gradient", lost, total, what))
    stuck = [name for name in names if name in watch.nonzero and name not in watch.moved]
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


class _DeadUnits:
    """Units that feed a layer with zeros for every example."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        }
        self._shares: dict[str, tuple[float, int]] = {}
        self._storages: dict[str, int] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, module in self._layers.items():
            self._hooks.append(module.register_forward_pre_hook(self._look(name)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _look(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[object, ...]) -> None:
            if not args or not isinstance(args[0], Tensor) or name in self._shares:
                return
            unit = args[0].detach()
            axis = -1 if isinstance(module, nn.Linear) else 1
            if unit.ndim < 2:
                return
            flat = unit.movedim(axis, 0).flatten(1)
            self._shares[name] = (float((flat == 0).all(1).double().mean()), len(flat))
            self._storages[name] = unit.untyped_storage().data_ptr()

        return hook

    def defects(self, call: Call) -> list[Defect]:
        given = {t.untyped_storage().data_ptr() for t in call.fed}
        dead = [
            (name, share, units)
            for name, (share, units) in self._shares.items()
            if share >= DEAD_SHARE and self._storages[name] not in given
        ]
        if not dead:
            return []
        name, share, units = dead[0]
        sentence = (
            f"{share:.0%} of the {units} units that feed {name} are zero for every example."
        )
        return [Defect(Kind.CODE, "dead-layer", sentence, {"dead_share": share})]


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and bool((a.cpu() == b.cpu()).all())
        for a, b in zip(some, others, strict=True)
    )


def _fed_constant(call: Call, examples: Examples) -> list[Defect]:
    fed = [t for t in call.fed if len(t) == len(examples)]
    if not fed or not all(_same_rows(t) for t in fed):
        return []
    sentence = f"The step gives the model the same input for all {len(examples)} examples."
    return [Defect(Kind.CODE, "constant-input", sentence)]


def _same_rows(values: Tensor) -> bool:
    return bool((values == values[:1]).all())


def _shapes(output: Tensor | None, examples: Examples, task: Task) -> list[Defect]:
    if output is None or not isinstance(task, Values | Binary):
        return []
    want = torch.as_tensor(examples.targets).shape
    if output.shape == want or output.numel() != want.numel():
        return []
    sentence = f"Outputs have shape {tuple(output.shape)}, targets {tuple(want)}."
    return [Defect(Kind.CODE, "shape-broadcast", sentence)]


def _probabilities(output: Tensor | None, task: Task) -> list[Defect]:
    if output is None:
        return []
    values = output.detach().double()
    within = bool((values >= 0).all() and (values <= 1).all())
    if isinstance(task, Classes) and within and values.shape[1:].numel() > 1:
        off = min(float((values.sum(axis) - 1).abs().max()) for axis in (1, values.ndim - 1))
        if off < 1e-3:
            sentence = (
                "Outputs are non-negative and sum to 1: they went through a softmax already."
            )
            return [Defect(Kind.CODE, "outputs-are-probabilities", sentence)]
    if isinstance(task, Binary) and within and values.std() > 0:
        sentence = "All outputs lie between 0 and 1: they went through a sigmoid already."
        return [Defect(Kind.CODE, "outputs-are-probabilities", sentence)]
    return []


def _gradients(named: list[Named], watch: _Watch) -> list[Defect]:
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


def _mixing(recipe: Recipe, examples: Examples) -> list[Defect]:
    """One example's output must not depend on which others are in its batch."""
    model, optimizer = recipe.build()
    shared = any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and not m.track_running_stats  # noqa: SLF001  # the only common base class
        for m in model.modules()
    )
    half, kept = len(examples) // 2, len(examples) // 4
    if shared or kept == 0:
        return []
    # The same first examples, with other companions out of the second half.
    batches = (range(half), [*range(kept), *range(half, 2 * half - kept)])
    one, other = (
        observe(model, optimizer, recipe.step_fn, examples.take(list(rows))) for rows in batches
    )
    if one.output is None or other.output is None or len(one.output) != half:
        return []
    if one.output.shape != other.output.shape or not _mixed(one, other, kept):
        return []
    a, b = one.output.double(), other.output.double()
    share = float((a[:kept] - b[:kept]).norm() / (a[:kept] - a.mean(0)).norm().clamp_min(1e-12))
    if not share > MIXED:
        return []
    sentence = (
        "The output for an example changes with the other examples of its batch, by "
        f"{share:.0%} of the spread of the outputs."
    )
    return [Defect(Kind.CODE, "mixes-examples", sentence, {"change": share})]


def _mixed(one: Call, other: Call, kept: int) -> bool:
    """Whether what differs is more than a feature's scale and offset.

    A step that standardises by the statistics of the batch changes every feature by one scale
    and one offset for all examples, which is no mixing.
    """
    for a, b in zip(one.fed, other.fed, strict=True):
        if a.shape != b.shape or len(a) < kept:
            continue
        x, y = (t[:kept].detach().cpu().double().reshape(kept, -1) for t in (a, b))
        if torch.equal(x, y):
            continue
        x, y = x - x.mean(0), y - y.mean(0)
        scale = x.norm(dim=0) * y.norm(dim=0)
        alike = ((x * y).sum(0) / scale.clamp_min(1e-12))[scale > 1e-9]
        return len(alike) == 0 or float(alike.abs().mean()) < RESCALED
    return True


def _notes(loss: float, output: Tensor | None, task: Task) -> tuple[str, ...]:
    if not isinstance(task, Classes) or output is None:
        return ()
    classes = output.shape[1] if output.ndim > 1 else 0
    if classes < 2 or output.ndim > 2:
        return ()
    expected = math.log(classes)
    if 0.4 * expected <= loss <= 3 * expected:
        return ()
    return (f"The first loss is {loss:.3g}; ln({classes}) = {expected:.3g} would be usual.",)
