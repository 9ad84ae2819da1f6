"""Which of the things that a model returns is its answer, and to which of the targets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from backslide.smalldata.task import Classes, Task, Unscored, task_of
from backslide.smalldata.trees import Tree, branches, leaves

USUAL: Final = ("logits", "scores", "preds", "predictions", "pred", "output", "y_hat")
"""Names under which answers lie in what a model returns, the likeliest first."""

Predicted: TypeAlias = Callable[[object], Tensor | None]


def first_tensor(output: object) -> Tensor | None:
    """The answer as long as nothing is known: the first tensor that a model returns."""
    return next((leaf for leaf in leaves(output) if isinstance(leaf, Tensor)), None)


@dataclass(frozen=True)
class Answer:
    """An answer of the model, and what it answers.

    Attributes:
        place: of the answer among the leaves of what the model returns.
        part: of its targets among the leaves of all targets; None where they are the targets.
        task: what they ask for.
    """

    place: int
    part: int | None
    task: Task

    def predicted(self, output: object) -> Tensor | None:
        """The answer in what a model returned."""
        found = list(leaves(output))
        answer = found[self.place] if self.place < len(found) else None
        return answer if isinstance(answer, Tensor) else None


def answer_of(output: object, targets: Tree) -> Answer:
    """Finds the answer: what nothing else is computed from, and what fits the targets.

    Features lie beside the scores made of them, and both may have the shape of an answer; the
    graph of the computation tells them apart. Of several heads that fit, the one with the
    targets' name, a usual name or the fewest outputs is meant.

    Args:
        output: what the model returned in a training step, with its graph.
        targets: those of the same examples.
    """
    heads = _last(list(_named(output)))
    whole = [(None, None, targets)]
    parts = [(part, name, truth) for part, (name, truth) in enumerate(_named(targets))]
    fitting = []
    for part, asked_for, truth in whole if _column(targets) else parts:
        if not _column(truth):
            continue
        for place, name, tensor in heads:
            task = task_of(truth, tensor)
            if not isinstance(task, Unscored) and task.loss(tensor, truth) is not None:
                usual = USUAL.index(name) if name in USUAL else len(USUAL)
                size = tensor[:1].numel() if isinstance(task, Classes) else 0
                strange = part is not None and name != asked_for
                fitting.append(((strange, usual, part or 0, size), Answer(place, part, task)))
    if fitting:
        return min(fitting, key=lambda found: found[0])[1]
    return Answer(heads[0][0] if heads else 0, None, Unscored())


def _column(targets: Tree) -> bool:
    return isinstance(targets, Tensor | np.ndarray)


def _named(tree: Tree, name: str | None = None) -> Iterator[tuple[str | None, Any]]:
    """The leaves of a tree in the order of `leaves`, each with its name where it has one."""
    found = branches(tree)
    if found is None:
        yield name, tree
        return
    names: list[str | None]
    match tree:
        case Mapping():
            names = [str(key) for key in tree]
        case tuple() | list():
            names = list(getattr(tree, "_fields", [None] * len(tree)))
        case _:
            names = list(vars(tree))
    for own, branch in zip(names, found[0], strict=True):
        yield from _named(branch, own or name)


def _last(named: list[tuple[str | None, Any]]) -> list[tuple[int, str | None, Tensor]]:
    """The tensors that no other one was computed from, with their places."""
    found = [
        (place, name, tensor)
        for place, (name, tensor) in enumerate(named)
        if isinstance(tensor, Tensor) and tensor.ndim and tensor.is_floating_point()
    ]
    if len(found) < 2:
        return found
    passed: set[Any] = set()
    for _, _, tensor in found:
        passed |= _behind(tensor)
    last = [each for each in found if each[2].grad_fn not in passed]
    return [each for each in last if each[2].grad_fn is not None] or last or found


def _behind(tensor: Tensor) -> set[Any]:
    """All operations that a tensor's own one was given the results of."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn]
    while waiting:
        operation = waiting.pop()
        for before, _ in () if operation is None else operation.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)
    return seen


def out_of_range(output: Tensor | None, targets: Tree) -> str | None:
    """A sentence if the targets name classes that the outputs do not have."""
    if output is None or output.ndim < 2 or not _column(targets):
        return None
    index = torch.as_tensor(targets)
    if index.is_floating_point() or index.is_complex():
        return None
    low, high = int(index[index != -100].min()), int(index.max())
    axis = 1 if output.shape[2:] == index.shape[1:] else -1
    classes = output.shape[axis]
    if low >= 0 and high < classes:
        return None
    return (
        f"Targets go from {low} to {high}, but a model with {classes} outputs knows only the "
        f"classes 0 to {classes - 1}."
    )
