"""Would more data help? What earlier retrains on other amounts of data say."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from backslide.contract import Cause, Measure
from backslide_detector.retrain.alike import (
    Said,
    differing,
    is_parameter,
    of_training_data,
)
from backslide_detector.retrain.history import PastRun, measured_alike
from backslide_detector.retrain.sentence import decimals, size
from backslide_detector.stats.learning_curve import FEW_REPEATS, LearningCurve, learning_curve
from backslide_detector.wording import count

SPREAD: Final = 1.5
"""Largest amount of data over the smallest from which the amounts tell something."""
UNKNOWN: Final = (
    "How much more data would bring cannot be told from retrains on one amount of it: train "
    "once on half, with all else the same."
)
LONGER: Final = (
    "The errors of this run alone do not show it: part of the gain may come from the longer "
    "training that more data bring."
)
_TRAINING: Final = ("train rows", "training rows")


def more_data(new: PastRun, history: Sequence[PastRun]) -> LearningCurve | None:
    """The learning curve of a recipe; None where its retrains do not show one.

    Retrains count that state their amount of training data, had the same code, environment,
    other data and parameters, and were measured on the same test set. A parameter may differ
    where it only says the amount in other words.

    Args:
        new: the judged retrain; doubling starts from its amount of data.
        history: runs of the lineage, in any order.
    """
    rows, error = _rows(new), new.error
    if rows is None or error is None or not new.finished:
        return None
    runs = [new, *(run for run in history if run.run_id != new.run_id and _alike(new, run))]
    sizes = np.array([_rows(run) or 0 for run in runs], np.float64)
    errors = np.array([run.error.rate for run in runs if run.error is not None])
    if sizes.max() < SPREAD * sizes.min():
        return None
    if error.measure == "error" and error.examples:
        # Two models on one test set differ by no more than two on two: safe where it is one.
        likely = np.clip(errors, 1.0 / error.examples, 0.5)
        variances = likely * (1.0 - likely) / error.examples
    elif len(sizes) - len(np.unique(sizes)) >= FEW_REPEATS and np.ptp(errors) > 0.0:
        variances = np.full(len(errors), errors.var())  # what the repeats show takes its place
    else:
        return None
    return learning_curve(sizes, errors, variances, at=float(rows))


def said(curve: LearningCurve, measure: Measure) -> str:
    """The curve in a sentence."""
    low, high = curve.interval
    places = decimals(high - low, measure)
    bounds = (
        f"95 % interval {_signed(low, measure, places)} to {_signed(high, measure, places)}"
    )
    seen = (
        f"{count(curve.n, 'retrain')} of this recipe on {curve.smallest:,.0f} to "
        f"{curve.largest:,.0f} training examples"
    )
    twice = f"twice the data ({2 * curve.at:,.0f} examples)"
    if low > 0.0:
        return (
            f"More data would help: by the power law through {seen}, {twice} would lower the "
            f"error by about {size(curve.gain, measure, places)} ({bounds})."
        )
    if high <= 0.0:
        return (
            f"More of the same data would not help: on {seen}, the error did not fall with it."
        )
    return (
        f"That more data would help is not shown: by the power law through {seen}, {twice} "
        f"would lower the error by {size(curve.gain, measure, places)} ({bounds})."
    )


def _signed(value: float, measure: Measure, places: int) -> str:
    sign = "−" if value < 0.0 else ""
    return sign + size(value, measure, places).removesuffix(" points")


def _rows(run: PastRun) -> int | None:
    """Training examples."""
    data = run.made_from.get(Cause.DATA, {})
    stated = next((data[name] for name in _TRAINING if name in data), "")
    return int(stated) if stated.isdecimal() and int(stated) > 0 else None


def _alike(new: PastRun, run: PastRun) -> bool:
    """Do two retrains differ in the amount of training data at most?"""
    mine, its = _rows(new), _rows(run)
    if not mine or not its or not run.finished or not measured_alike(new, run):
        return False
    found = differing(new, run)
    return found is not None and all(
        of_training_data(said) or _in_step(said, one, other, its / mine)
        for said, (one, other) in found.items()
    )


def _in_step(said: Said, mine: str, its: str, ratio: float) -> bool:
    """Is it a parameter that is as many times larger as there are more examples?"""
    try:
        one, other = float(mine), float(its)
    except ValueError:
        return False
    return is_parameter(said) and one > 0.0 and abs(other / one / ratio - 1.0) < 0.02
