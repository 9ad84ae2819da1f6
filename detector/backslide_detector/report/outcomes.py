"""Which examples a retrain fixed and which it broke, class by class."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from backslide_detector.evidence import Predictions


@dataclass(frozen=True, slots=True)
class ClassOutcome:
    """One class on both runs.

    Attributes:
        examples: of the judged run.
        old_error: None without a predecessor's predictions for this class.
        fixed, broken: newly right and newly wrong among the examples both runs predicted;
            None when they share none.
    """

    label: str
    examples: int
    new_error: float
    old_error: float | None = None
    fixed: int | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """All classes in order of their labels, and the commonest new mistakes.

    Attributes:
        common: examples that both runs predicted.
        mistakes: (target, prediction, count) of newly wrong examples, commonest first.
    """

    classes: tuple[ClassOutcome, ...]
    common: int
    mistakes: tuple[tuple[str, str, int], ...]


def outcomes(new: Predictions, old: Predictions | None) -> Outcomes | None:
    """Compares per-example outcomes; None for regression, where "wrong" has no meaning."""
    if not new.are_labels:
        return None
    new_target = new.targets.astype(str)
    labels, place = np.unique(new_target, return_inverse=True)
    examples = np.bincount(place, minlength=len(labels))
    wrong = np.bincount(place[~new.correct], minlength=len(labels))
    old_errors = _errors(old) if old is not None else {}
    fixed: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    mistakes: Counter[tuple[str, str]] = Counter()
    common = 0
    if old is not None and old.are_labels:
        _, here, there = np.intersect1d(
            new.ids.astype(str), old.ids.astype(str), assume_unique=True, return_indices=True
        )
        common = len(here)
        now, then = new.correct[here], old.correct[there]
        newly_wrong = here[then & ~now]
        fixed.update(new_target[here[now & ~then]].tolist())
        broken.update(new_target[newly_wrong].tolist())
        predicted = new.predictions[newly_wrong].astype(str).tolist()
        mistakes.update(zip(new_target[newly_wrong].tolist(), predicted, strict=True))
    rows = [
        ClassOutcome(
            label=label,
            examples=int(n),
            new_error=float(k / n),
            old_error=old_errors.get(label),
            fixed=fixed[label] if common else None,
            broken=broken[label] if common else None,
        )
        for label, n, k in zip(labels.tolist(), examples, wrong, strict=True)
    ]
    ranked = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))
    return Outcomes(
        tuple(sorted(rows, key=_order)),
        common,
        tuple((target, said, count) for (target, said), count in ranked),
    )


def _errors(predictions: Predictions) -> dict[str, float]:
    if not predictions.are_labels:
        return {}
    labels, place = np.unique(predictions.targets.astype(str), return_inverse=True)
    examples = np.bincount(place, minlength=len(labels))
    wrong = np.bincount(place[~predictions.correct], minlength=len(labels))
    return dict(zip(labels.tolist(), (wrong / examples).tolist(), strict=True))


def _order(row: ClassOutcome) -> tuple[bool, float, str]:
    """Numbers by size, then words by alphabet."""
    number = row.label.removeprefix("-")
    is_number = number.isascii() and number.isdigit() and len(number) < 18
    return not is_number, float(row.label) if is_number else 0.0, row.label
