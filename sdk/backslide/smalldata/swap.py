"""Memorising failed: exchange one part at a time for one that works, and see which it was."""

import math
from typing import Final

import torch
from torch import Tensor

from backslide.smalldata.exchange import (
    Case,
    after,
    as_fed,
    as_given,
    plain_memorises,
    swapped_optimizer,
)
from backslide.smalldata.task import Classes, Unscored, Values
from backslide.smalldata.verdict import Defect, Kind

PAIR_SEEDS: Final = 3
"""Initialisations tried on two examples; a narrow layer may be born dead."""
TINY_UPDATE: Final = 1e-4
HELPED: Final = 0.5
SHOT_UP: Final = 10.0
OUTSIDE: Final = 0.2
SAME: Final = 1e-4
EXACT: Final = ("constant-input", "outputs-are-probabilities", "dead-layer", "zero-gradient")
"""Symptoms that explain a failure by themselves, without a further swap."""


def blame(case: Case) -> Defect:
    """Names the part that keeps the user's training from memorising.

    The suspects are heard in order, so that a part is blamed only when those before it have
    been cleared; a symptom counts once the optimizer has.
    """
    for suspect in (
        _unbounded,
        _optimizer,
        _exact_symptom,
        _range,
        _unscored,
        _loss_or_step,
        _input_preparation,
        _non_finite,
        _vanishing,
        _constant,
    ):
        defect = suspect(case)
        if defect is not None:
            return defect
    return _too_small(case)


def _unbounded(case: Case) -> Defect | None:
    if not case.own.unbounded:
        return None
    sentence = (
        f"The loss fell from {case.own.initial:.3g} to {case.own.final:.3g} and on, below zero."
    )
    return Defect(Kind.CODE, "loss-unbounded-below", sentence)


def _optimizer(case: Case) -> Defect | None:
    own = case.own
    with_adam = swapped_optimizer(case)
    if with_adam is None:
        return None
    rate, fit = with_adam
    knew = own.score is not None and own.score >= case.task.passes_at
    if knew and own.finite and fit.final > HELPED * own.final:
        return None  # a loss that stops on its way stops there with Adam as well
    if not own.finite or own.highest > 1.5 * own.initial:
        cause = "learning-rate-too-high"
    elif own.update_ratio < TINY_UPDATE:
        cause = "learning-rate-too-low"
    else:
        cause = "optimizer-settings"
    sentence = (
        f"With Adam at {rate:g} in its place the same step memorises in {fit.steps} steps; "
        f"your optimizer took the loss from {own.initial:.3g} to {own.final:.3g} in "
        f"{own.steps}, and its first update moved the weights by {own.update_ratio:.1e} of "
        "their length."
    )
    return Defect(Kind.OPTIMIZER, cause, sentence, {"update_ratio": own.update_ratio})


def shot_up(case: Case) -> Defect | None:
    """A rate that throws the weights far off, which a handful of examples forgives."""
    own, truth = case.own, case.examples.truth
    usual = case.task.ignorance(truth)
    if usual is None and isinstance(case.task, Values):
        usual = float(torch.as_tensor(truth).double().var())
    if usual is None or own.highest <= SHOT_UP * max(own.initial, usual):
        return None
    with_adam = swapped_optimizer(case)
    if with_adam is None or with_adam[1].highest > 2 * max(own.initial, usual):
        return None
    rate, fit = with_adam
    sentence = (
        f"The first updates threw the loss from {own.initial:.3g} up to {own.highest:.3g}; "
        f"with Adam at {rate:g} the same step memorises and never goes beyond "
        f"{fit.highest:.3g}."
    )
    return Defect(Kind.OPTIMIZER, "learning-rate-too-high", sentence)


def _exact_symptom(case: Case) -> Defect | None:
    return case.symptom(*EXACT)


def _unscored(case: Case) -> Defect | None:
    if not isinstance(case.task, Unscored):
        return None
    sentence = "Neither your optimizer nor Adam could memorise the examples."
    return Defect(Kind.CODE, "cannot-memorise", sentence)


def _loss_or_step(case: Case) -> Defect | None:
    if case.recipe.rearranges or not plain_memorises(case, case.plain, as_fed(case.recipe)):
        return None
    sentence = "With a plain loss and step, and Adam, the same model memorises the examples."
    shapes = case.symptom("shape-broadcast")
    return shapes or Defect(Kind.CODE, "loss-or-step", sentence)


def _input_preparation(case: Case) -> Defect | None:
    if case.first.fed_as_given or not plain_memorises(case, case.plain, as_given):
        return None
    sentence = "Given its inputs as they are in the data, the model memorises the examples."
    return Defect(Kind.CODE, "input-preparation", sentence)


def _non_finite(case: Case) -> Defect | None:
    if case.own.finite:
        return None
    sentence = f"The loss was {case.own.final} after {case.own.steps} steps, with Adam as well."
    return Defect(Kind.CODE, "non-finite", sentence)


def _vanishing(case: Case) -> Defect | None:
    return case.symptom("vanishing-gradient")


def _range(case: Case) -> Defect | None:
    """Targets that the last activation cannot reach."""
    if not isinstance(case.task, Values | Classes):
        return None
    output = after(case)
    if output is None:
        return None
    if isinstance(case.task, Classes):
        return _bounded(output)
    targets = torch.as_tensor(case.examples.truth).double()
    low, high = float(output.min()), float(output.max())
    for floor, ceiling in ((0.0, 1.0), (-1.0, 1.0), (0.0, math.inf), (-math.inf, 0.0)):
        outside = float(((targets < floor) | (targets > ceiling)).double().mean())
        within = low >= floor and high <= ceiling
        touched = low <= floor + 0.02 or high >= ceiling - 0.02
        if within and touched and outside > OUTSIDE:
            sentence = (
                f"Outputs stay between {low:.3g} and {high:.3g}, but {outside:.0%} of the "
                f"targets lie outside [{floor:g}, {ceiling:g}]."
            )
            return Defect(Kind.CODE, "output-range", sentence, {"outside": outside})
    return None


def _bounded(scores: Tensor) -> Defect | None:
    """Scores of classes that a last activation keeps within one of zero."""
    far = float(scores.abs().max())
    if not 0.98 <= far <= 1.0:
        return None
    sentence = (
        f"After training no score is farther from zero than {far:.3g}, and between such scores "
        "a cross-entropy cannot fall far."
    )
    return Defect(Kind.CODE, "output-range", sentence, {"largest_score": far})


def _constant(case: Case) -> Defect | None:
    output = after(case)
    if output is None:
        return None
    spread = float(output.double().std(0).max())
    if spread > SAME * (1 + float(output.abs().mean())):
        return None
    sentence = (
        f"After {case.steps} steps the outputs for {len(case.examples)} different examples "
        f"still differ by no more than {spread:.1e}."
    )
    return Defect(Kind.CODE, "constant-output", sentence, {"output_spread": spread})


def _too_small(case: Case) -> Defect:
    groups = case.task.groups(case.examples.truth)
    other = 1 if groups is None else int((groups != groups[0]).nonzero()[0])
    pair = case.plain.take([0, other])
    forward, n = as_fed(case.recipe), len(case.examples)
    if any(plain_memorises(case, pair, forward, seed) for seed in range(PAIR_SEEDS)):
        sentence = f"Two examples can be memorised, {n} cannot, with a reference loss and Adam."
        return Defect(Kind.CAPACITY, "cannot-memorise", sentence, {"examples": n})
    sentence = "Not even two examples can be memorised with a reference loss and Adam."
    return Defect(Kind.CODE, "cannot-memorise", sentence, {"examples": 2})
