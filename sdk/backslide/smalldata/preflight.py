"""What can be seen exactly in a few real steps, before anything is learnt.

`parameters` looks at what is trained; here is what goes into a model and comes out of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from backslide.smalldata.data import Examples
from backslide.smalldata.forward import Call
from backslide.smalldata.parameters import (
    Watch,
    faint,
    held_by,
    left_out,
    watched_step,
    without_effect,
)
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Binary, Classes, Task, Unscored, Values
from backslide.smalldata.trees import tensors
from backslide.smalldata.verdict import Defect, Kind

STEPS: Final = 2
SECOND_LOOK: Final = 8
"""Steps given to parameters that looked stuck: warm-up from zero, accumulation, branches
initialised at zero and skipped mixed-precision steps wake up within these."""
DEAD_SHARE: Final = 0.9
DROPPED: Final = 0.95
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


def preflight(recipe: Recipe, examples: Examples, more: Examples, task: Task) -> Preflight:
    """Takes a few of the user's steps on a new model and looks at every parameter.

    Args:
        recipe: The user's parts.
        examples: The batch for the steps.
        more: A larger batch, to see whether examples stay by themselves.
        task: What the targets ask for.
    """
    model, optimizer = recipe.build()
    static = left_out(recipe, model, optimizer)
    held = held_by(optimizer)
    named = [(name, p) for name, p in recipe.trainable(model) if id(p) in held]

    watch, dead = Watch(), _DeadUnits(model)
    one_step = partial(watched_step, recipe, (model, optimizer, examples), named, watch)
    with recipe.tap(model) as tap, dead:
        first_loss = one_step()
    taken = 1
    while taken < STEPS or (
        taken < SECOND_LOOK and len(watch.moved & watch.nonzero) < len(named)
    ):
        one_step()
        taken += 1

    call = tap.call
    dynamic = without_effect(named, watch, taken)
    symptoms = [
        *_fed_constant(call, examples),
        *_shapes(call.output, examples, task),
        *_probabilities(call.output, task),
        *dead.defects(call),
        *faint(named, watch),
    ]
    defects = _dropping(model) + static + dynamic
    if not defects and not isinstance(task, Unscored):
        defects += _mixing(recipe, more)
    return Preflight(
        task,
        tuple(defects),
        tuple(symptoms),
        _alike(list(tensors(examples.inputs)), call.fed),
        _notes(first_loss, call.output, task),
    )


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


def _dropping(model: nn.Module) -> list[Defect]:
    """Dropout that is left out while memorising would go unseen."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p >= DROPPED:  # noqa: SLF001  # the only common base class
            sentence = f"{name} drops {module.p:.0%} of what it is given."
            return [Defect(Kind.CODE, "dropout-too-high", sentence, {"dropout": module.p})]
    return []


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and bool((a.cpu() == b.cpu()).all())
        for a, b in zip(some, others, strict=True)
    )


def _fed_constant(call: Call, examples: Examples) -> list[Defect]:
    targets = list(tensors(examples.targets))
    fed = [t for t in call.fed if len(t) == len(examples) and not _alike([t], targets[:1])]
    if not fed or not all(_same_rows(t) for t in fed):
        return []
    sentence = f"The step gives the model the same input for all {len(examples)} examples."
    return [Defect(Kind.CODE, "constant-input", sentence)]


def _same_rows(values: Tensor) -> bool:
    return bool((values == values[:1]).all())


def _shapes(output: Tensor | None, examples: Examples, task: Task) -> list[Defect]:
    if output is None or not isinstance(task, Values | Binary):
        return []
    want = torch.as_tensor(examples.truth).shape
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
    if isinstance(task, Binary | Classes) and within and values.std() > 0:
        sentence = "All outputs lie between 0 and 1: they went through a sigmoid already."
        return [Defect(Kind.CODE, "outputs-are-probabilities", sentence)]
    return []


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
    # The same examples in the middle, with other companions out of the second half around them.
    before = (half - kept) // 2
    middle = slice(before, before + kept)
    rows = torch.arange(2 * half)
    others = rows[half:].clone()
    others[middle] = rows[middle]
    calls = []
    for batch in (rows[:half], others):
        torch.manual_seed(0)  # what a model draws, it draws alike
        calls.append(recipe.observe(model, optimizer, examples.take(batch)))
    one, other = calls
    if one.output is None or other.output is None or len(one.output) != half:
        return []
    if one.output.shape != other.output.shape or not _mixed(one, other, middle):
        return []
    a, b = one.output.double(), other.output.double()
    spread = (a[middle] - a.mean(0)).norm().clamp_min(1e-12)
    share = float((a[middle] - b[middle]).norm() / spread)
    if not share > MIXED:
        return []
    sentence = (
        "The output for an example changes with the other examples of its batch, by "
        f"{share:.0%} of the spread of the outputs."
    )
    return [Defect(Kind.CODE, "mixes-examples", sentence, {"change": share})]


def _mixed(one: Call, other: Call, kept: slice) -> bool:
    """Whether what differs is more than a feature's scale and offset.

    A step that standardises by the statistics of the batch changes every feature by one scale
    and one offset for all examples, which is no mixing.
    """
    for a, b in zip(one.fed, other.fed, strict=True):
        if a.shape != b.shape or len(a) < kept.stop:
            continue
        x, y = (t[kept].detach().cpu().double().flatten(1) for t in (_wide(a), _wide(b)))
        if torch.equal(x, y):
            continue
        x, y = x - x.mean(0), y - y.mean(0)
        scale = x.norm(dim=0) * y.norm(dim=0)
        alike = ((x * y).sum(0) / scale.clamp_min(1e-12))[scale > 1e-9]
        return len(alike) == 0 or float(alike.abs().mean()) < RESCALED
    return True


def _wide(values: Tensor) -> Tensor:
    return values[:, None] if values.ndim == 1 else values


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
