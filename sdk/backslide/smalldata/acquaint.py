"""The first meeting with a user's parts: what the model answers, and to what."""

import random
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import nn

from backslide.smalldata.answers import Answer, answer_of, out_of_range
from backslide.smalldata.data import Examples
from backslide.smalldata.forward import called
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Task, Unscored, Values
from backslide.smalldata.trees import tensors
from backslide.smalldata.verdict import Defect, Kind

SAMPLE: Final = 8


@dataclass(frozen=True)
class Met:
    """What a first step showed.

    Attributes:
        recipe: the user's parts, and how they are to be read.
        part: which of several targets is judged.
        task: what that asks for.
    """

    recipe: Recipe
    part: int | None
    task: Task


def acquaint(recipe: Recipe, pool: Examples) -> Met | Defect:
    """Takes one of the user's steps and finds the model's answer in it.

    Returns:
        What there is to know; or the defect, where the step fails because targets name classes
        that the model has no outputs for.

    Raises:
        Exception: Whatever else the user's step raises.
    """
    model, optimizer = recipe.build()
    sample = pool.take(_varied(pool))
    with recipe.tap(model) as tap:
        try:
            loss = recipe.step(model, optimizer, sample)
        except (IndexError, RuntimeError):
            sentence = out_of_range(tap.call.output, sample.targets)
            if sentence is None:
                raise
            return Defect(Kind.CODE, "class-out-of-range", sentence)
    rearranges = _draws(recipe, sample)
    answer = answer_of(tap.returned, sample.targets)
    if rearranges or isinstance(answer.task, Unscored):
        asked = _asked(model, sample)
        rearranges = asked is not None
        answer = asked or replace(answer, task=Unscored())
    task, output = answer.task, answer.predicted(tap.returned)
    if isinstance(task, Values) and output is not None and not rearranges:
        truth = replace(sample, part=answer.part).truth
        task = Values(linked=not task.plain(output.detach(), truth, loss))
    read = replace(recipe, predicted=answer.predicted, rearranges=rearranges)
    return Met(read, answer.part, task)


def _varied(pool: Examples) -> list[int]:
    """The first few examples, and those with the lowest and the highest class."""
    rows = list(range(min(SAMPLE, len(pool))))
    for column in tensors(pool.targets):
        if column.ndim == 1 and not column.is_floating_point():
            rows += [int(column.argmin()), int(column.argmax())]
    return sorted(set(rows))


def _draws(recipe: Recipe, sample: Examples) -> bool:
    """Whether the step makes something else of the same inputs each time."""
    fed = []
    for seed in (0, 1):
        model, optimizer = recipe.build()
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # user code draws from it
        random.seed(seed)
        fed.append(recipe.observe(model, optimizer, sample).fed)
    return len(fed[0]) != len(fed[1]) or not all(map(torch.equal, *fed))


def _asked(model: nn.Module, sample: Examples) -> Answer | None:
    """The answer of a model that is called without the step; None where it does not fit."""
    try:
        answer = answer_of(called(model, sample.inputs), sample.targets)
    except Exception:  # noqa: BLE001  # it takes what only the step can make
        return None
    return None if isinstance(answer.task, Unscored) else answer
