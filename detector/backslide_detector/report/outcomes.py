"""Which examples a retrain fixed and which it broke, class by class."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from backslide_detector.evidence import Predictions, RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.names import table_of


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


@dataclass(frozen=True, slots=True)
class Answers:
    """Labels that were predicted on the split which a verdict is about.

    Attributes:
        new: of the judged run.
        old: of its predecessor; None without labels on that split.
    """

    split: str
    new: Predictions
    old: Predictions | None


def answers(judgement: Judgement, new: RunEvidence, old: RunEvidence | None) -> Answers | str:
    """The answers to be shown, or why there are none."""
    split = judgement.retrain.split or (new.error.split if new.error else "test")
    mine = table_of(new.predictions, split) or next(iter(new.predictions.values()), None)
    if mine is None:
        return "The run logged no predictions; run.evaluate() does."
    if not mine.are_labels:
        return "The predictions are numbers, not classes."
    theirs = None if old is None else table_of(old.predictions, split)
    return Answers(split, mine, theirs if theirs is not None and theirs.are_labels else None)


def outcomes(new: Predictions, old: Predictions | None) -> Outcomes:
    """Compares per-example outcomes of labels."""
    new_target = new.targets.astype(str)
    labels, place = np.unique(new_target, return_inverse=True)
    examples = np.bincount(place, minlength=len(labels))
    wrong = np.bincount(place[~new.correct], minlength=len(labels))
    old_errors = _errors(old) if old is not None else {}
    fixed: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    mistakes: Counter[tuple[str, str]] = Counter()
    common = 0
    if old is not None:
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
    labels, place = np.unique(predictions.targets.astype(str), return_inverse=True)
    examples = np.bincount(place, minlength=len(labels))
    wrong = np.bincount(place[~predictions.correct], minlength=len(labels))
    return dict(zip(labels.tolist(), (wrong / examples).tolist(), strict=True))


def _order(row: ClassOutcome) -> tuple[bool, float, str]:
    """Numbers by size, then words by alphabet."""
    number = row.label.removeprefix("-")
    is_number = number.isascii() and number.isdigit() and len(number) < 18
    return not is_number, float(row.label) if is_number else 0.0, row.label
