"""What the nearest training examples say: a reference that needs no training."""

from typing import Final

import torch
from torch import Tensor, nn

from backslide.smalldata.agreement import Agreement, against_chance
from backslide.smalldata.data import Examples
from backslide.smalldata.task import Task
from backslide.smalldata.trees import Tree

NEIGHBOURS: Final = 5
FEATURES: Final = 2_048


def nearest(task: Task, train: Examples, heldout: Examples) -> Agreement:
    """What the nearest training examples say about held-out targets."""
    reference, query = _features(train), _features(heldout)
    if reference is None or query is None or reference.shape[1] != query.shape[1]:
        return Agreement(0.0, 0.0, 0.0)
    centre, spread = reference.mean(0), reference.std(0).clamp_min(1e-6)
    distance = torch.cdist((query - centre) / spread, (reference - centre) / spread)
    near = distance.topk(min(NEIGHBOURS, len(train)), largest=False).indices

    def score(rows: Tensor) -> float:
        return task.association(_vote(task, train.truth_of(rows), near), heldout.truth)

    return against_chance(score, len(train))


def _vote(task: Task, targets: Tree, near: Tensor) -> Tensor:
    groups = task.groups(targets)
    if groups is not None and task.association_name == "accuracy":
        groups = groups.cpu()
        return nn.functional.one_hot(groups, int(groups.max()) + 1).double()[near].mean(1)
    values = torch.as_tensor(targets).cpu().double()
    return values.reshape(len(values), -1)[near].mean(1)


def _features(examples: Examples) -> Tensor | None:
    n = len(examples)
    columns = [
        t.detach().cpu().double().reshape(n, -1) for t in examples.features if len(t) == n
    ]
    if not columns:
        return None
    flat = torch.cat(columns, dim=1)
    return flat[:, :: max(1, -(-flat.shape[1] // FEATURES))]
