"""Code defect or data defect? Four stages, each of which can end the test."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from backslide.smalldata.acquaint import acquaint
from backslide.smalldata.control import control
from backslide.smalldata.data import Examples, read
from backslide.smalldata.exchange import Case
from backslide.smalldata.forward import Step
from backslide.smalldata.memorise import Fit, memorise_own
from backslide.smalldata.preflight import preflight
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.record import record
from backslide.smalldata.scale import Scale, off_scale, on_its_way
from backslide.smalldata.swap import blame, shot_up
from backslide.smalldata.task import Binary, Task, Unscored
from backslide.smalldata.trees import tensors
from backslide.smalldata.verdict import Defect, Kind, SmallDataVerdict

MAX_CLASSES: Final = 10
"""Of many classes the commonest are enough, and keep the test short."""
WITHOUT_CLASSES: Final = 8
"""Examples memorised for each of `per_class` where there are no classes."""
DENSE: Final = 2
"""The same where each example has many targets."""
COMPANIONS: Final = 32
PER_CLASS_CONTROL: Final = 30
CONTROL: Final = 300
NEARLY: Final = 0.7
MIN_HELDOUT: Final = 20
MAX_HELDOUT: Final = 500


def small_data_test(
    model_fn: Callable[[], nn.Module],
    opt_fn: Callable[[nn.Module], torch.optim.Optimizer],
    step_fn: Step,
    train: object,
    heldout: object,
    *,
    per_class: int = 2,
    steps: int = 200,
    expect_frozen: Sequence[str] = (),
) -> SmallDataVerdict:
    """Tells in seconds whether a training that goes wrong suffers from its code or its data.

    A. A few real steps: does every parameter require, get and follow its gradient, and does
    each example stay by itself? B. Can a handful of examples be memorised? C. If not, one part
    at a time is exchanged for one that works. D. If so, does a model trained on a little real
    data beat permuted targets on held-out examples?

    The same call gives the same answer. The random state of torch, NumPy and Python is put
    back; `train` and `heldout` are only read. In an open run of `backslide.start`, or an active
    one of MLflow, the verdict is kept there: tag `backslide.small_data`, artifact
    `backslide/small-data.json`.

    Args:
        model_fn: Builds a new model; its parameters may come from a checkpoint.
        opt_fn: Builds the optimizer for such a model.
        step_fn: One training step of the real loop, `step_fn(model, opt, x, y) -> loss`, with
            zero_grad, backward and the optimizer's step. A copy made for this test would not
            show what is wrong with the loop.
        train: (inputs, targets) tensors, a dataset, a `DataLoader` or a list of batches. A
            batch is a pair (x, y); or several columns, the last of which is `y`; or a mapping
            or object that holds its labels, and is then `x` as a whole.
        heldout: The same, of examples that are not in `train`.
        per_class: Examples of each class to memorise.
        steps: Steps for memorising; five times as many where the loss keeps falling.
        expect_frozen: Names of parameters that may stay as they are, as shell patterns
            (`"backbone.*"`) or names of modules (`"backbone"`).

    Returns:
        The verdict: kind, cause, evidence. `print` it.

    Raises:
        TypeError: If data or the returned loss have a form that cannot be read.
        ValueError: If there are no examples, if `model_fn` returns one model twice, or if a
            pattern of `expect_frozen` fits nothing.
        Exception: Whatever the user's own functions raise.
    """
    if per_class < 1 or steps < 1:
        raise ValueError("per_class and steps must be at least 1")
    patterns = (expect_frozen,) if isinstance(expect_frozen, str) else tuple(expect_frozen)
    recipe = Recipe(model_fn, opt_fn, step_fn, patterns)
    with _own_randomness():
        verdict = _examine(recipe, train, heldout, per_class, steps)
    record(verdict)
    return verdict


def _examine(
    recipe: Recipe, train: object, heldout: object, per_class: int, steps: int
) -> SmallDataVerdict:
    generator = torch.Generator().manual_seed(0)
    pool, rest = read(train, generator), read(heldout, generator)
    broken = _data_defect(pool, "train") or _data_defect(rest, "heldout")
    if broken is not None:
        return _verdict(broken)

    recipe.check()
    met = acquaint(recipe, pool)
    if isinstance(met, Defect):
        return _verdict(met)
    recipe, task = met.recipe, met.task
    pool, rest = replace(pool, part=met.part), replace(rest, part=met.part)
    few = _pick(pool, task, per_class)
    first = preflight(recipe, few, pool.take(range(min(COMPANIONS, len(pool)))), task)
    if first.defects:
        return _verdict(*first.defects, notes=first.notes)

    fit = memorise_own(recipe, few, task, steps)
    if fit.backwards and isinstance(task, Binary):
        task = Binary(distance=True)
        first, fit = replace(first, task=task), memorise_own(recipe, few, task, steps)
    learnt = _memorised(fit, task, len(few))
    numbers = {"initial_loss": fit.initial, "final_loss": fit.final, "steps": float(fit.steps)}
    if fit.score is not None:
        numbers["score"] = fit.score
    found = None if fit.passed or fit.unbounded else off_scale(recipe, few, task, fit, steps)
    case = Case(recipe, few, first, fit, steps)
    if not fit.passed and found is None:
        culprit = blame(case)
        return _verdict(culprit, notes=(learnt, *first.notes), numbers=numbers)
    if found is not None:
        learnt = found.sentence
        numbers |= found.numbers
    # What labels are worth does not hang on their unit.
    if (scale := Scale.of(pool, task)) is not None:
        pool, rest = scale.standard(pool), scale.standard(rest)
    stuck = shot_up(case) if found is None or on_its_way(fit) else found
    return _controlled(recipe, (pool, rest), task, (learnt, numbers), stuck)


def _controlled(
    recipe: Recipe,
    data: tuple[Examples, Examples],
    task: Task,
    so_far: tuple[str, dict[str, float]],
    stuck: Defect | None,
) -> SmallDataVerdict:
    """The verdict of a training that can memorise: are there labels to be learnt?

    Args:
        recipe: The user's parts.
        data: Examples to train on and held-out ones.
        task: What the targets ask for.
        so_far: What memorising has shown, in words and numbers.
        stuck: What is to be said if the labels are in order.
    """
    pool, rest = data
    learnt, numbers = so_far
    small, others, check = _control_sets(pool, rest, task)
    if isinstance(task, Unscored) or len(check) < MIN_HELDOUT:
        why = "The labels were not judged: " + (
            "the outputs cannot be compared with the targets."
            if isinstance(task, Unscored)
            else f"that takes {MIN_HELDOUT} held-out examples, there are {len(check)}."
        )
        if stuck is not None:
            return _verdict(stuck, notes=(why,), numbers=numbers)
        return SmallDataVerdict(Kind.OK, None, (learnt, why), numbers)
    defect, sentence, more = control(recipe, small, others, check, task)
    if defect is not None:
        if stuck is not None and defect.kind is Kind.OPTIMIZER:
            return _verdict(stuck, defect, notes=(learnt,), numbers=numbers | more)
        return _verdict(defect, notes=(learnt,), numbers=numbers | more)
    if stuck is not None:
        return _verdict(stuck, notes=(sentence,), numbers=numbers | more)
    return SmallDataVerdict(Kind.OK, None, (learnt, sentence), numbers | more)


def _verdict(
    worst: Defect,
    *others: Defect,
    notes: tuple[str, ...] = (),
    numbers: dict[str, float] | None = None,
) -> SmallDataVerdict:
    evidence = (worst.sentence, *(other.sentence for other in others), *notes)
    return SmallDataVerdict(
        worst.kind, worst.cause, evidence, {**(numbers or {}), **worst.numbers}
    )


def _memorised(fit: Fit, task: Task, n: int) -> str:
    outcome = "were memorised" if fit.passed else "were not memorised"
    score = "" if fit.score is None else f"{task.score_name} {fit.score:.2f}, "
    return (
        f"{n} examples {outcome} in {fit.steps} steps: {score}loss from {fit.initial:.3g} to "
        f"{fit.final:.3g}."
    )


def _data_defect(examples: Examples, name: str) -> Defect | None:
    """What is wrong with the data themselves, to be seen without any model."""
    n = len(examples)
    for column in tensors([examples.inputs, examples.targets]):
        if not column.ndim:
            continue
        bad = ~column.reshape(n, -1).isfinite().all(1) if column.is_floating_point() else None
        if bad is not None and bool(bad.any()):
            count = int(bad.sum())
            sentence = f"{count} of {n} examples read of {name} hold NaN or infinite values."
            return Defect(Kind.DATA, "non-finite-data", sentence, {"non_finite": count})
    if n < 2:
        return None
    inputs, targets = examples.features, list(tensors(examples.targets))
    inputs = [column for column in inputs if column.ndim]
    if inputs and all(_constant(column) for column in inputs):
        sentence = f"All {n} inputs read of {name} are the same."
        return Defect(Kind.DATA, "constant-input", sentence)
    if targets and all(_constant(column) for column in targets):
        sentence = f"All {n} targets read of {name} are the same."
        return Defect(Kind.DATA, "one-class", sentence)
    return None


def _constant(column: Tensor) -> bool:
    return bool((column == column[:1]).all())


def _pick(pool: Examples, task: Task, per_class: int) -> Examples:
    groups = task.groups(pool.truth)
    if groups is None:
        factor = DENSE if task.name == "classification" else WITHOUT_CLASSES
        return pool.take(range(min(per_class * factor, len(pool))))
    return pool.take(_of_each(groups, per_class))


def _of_each(groups: Tensor, count: int, skipped: int = 0) -> list[int]:
    """The first rows of each of the commonest classes, in the order of the data."""
    rows = [
        (groups == c).nonzero().flatten().tolist()[skipped : skipped + count]
        for c in _commonest(groups)
    ]
    return sorted(row for some in rows for row in some)


def _commonest(groups: Tensor) -> Tensor:
    found = torch.unique(groups[groups >= 0], return_counts=True)
    classes, counts = cast("tuple[Tensor, Tensor]", found)
    return classes[counts.argsort(descending=True, stable=True)[:MAX_CLASSES]]


def _control_sets(
    pool: Examples, rest: Examples, task: Task
) -> tuple[Examples, Examples | None, Examples]:
    """Examples to train on, nearly as many others (if there are), and held-out ones."""
    groups, held = task.groups(pool.truth), task.groups(rest.truth)
    if groups is None or held is None:
        small = list(range(min(CONTROL, len(pool))))
        others = list(range(CONTROL, min(2 * CONTROL, len(pool))))
        kept = torch.arange(min(MAX_HELDOUT, len(rest)))
    else:
        small = _of_each(groups, PER_CLASS_CONTROL)
        others = _of_each(groups, PER_CLASS_CONTROL, PER_CLASS_CONTROL)
        kept = torch.isin(held, _commonest(groups)).nonzero().flatten()[:MAX_HELDOUT]
    enough = len(others) >= NEARLY * len(small)
    return pool.take(small), pool.take(others) if enough else None, rest.take(kept)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Seeds every global generator for the block, and puts back what was there."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]  # torch's lack
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # user code draws from it
    with torch.random.fork_rng(devices=list(devices)):
        try:
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002  # user code draws from it
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002  # user code draws from it
