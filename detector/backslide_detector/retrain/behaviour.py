"""What else changed between two models: a model can change a lot at equal error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide_detector.evidence import Predictions
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.discover import discover_slices
from backslide_detector.retrain.groups import (
    GroupChange,
    class_column,
    clusters,
    slice_columns,
    tabulate_together,
)
from backslide_detector.retrain.overall import class_numbers, of_classes
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.retrain.sentence import interval_words
from backslide_detector.stats.kitagawa import KitagawaSplit, kitagawa_split

ALPHA = 0.05
_NAMES = {
    "f1_macro": "macro F1",
    "calibration_error": "calibration error",
    "confidence": "mean confidence",
    "auc": "area under the ROC curve",
}
MOST_NAMED = 3
"""Classes or slices that a sentence names; the tables hold them all."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Two models on their common examples.

    Attributes:
        n: common examples.
        churn: share on which the two models answer differently.
        negative_flips: share that was right and is wrong now.
        metrics: loss, macro F1, calibration error and confidence as far as they were logged,
            Holm-adjusted.
        classes, slices: tables, Holm-adjusted over both together.
        discovered: crossings of them, on a held half, Holm-adjusted.
    """

    n: int
    churn: float
    negative_flips: float
    metrics: tuple[MetricChange, ...]
    classes: tuple[GroupChange, ...]
    slices: tuple[GroupChange, ...]
    discovered: tuple[GroupChange, ...]

    @property
    def loss(self) -> MetricChange | None:
        """Mean loss; None when either run did not log it."""
        return self._metric("loss")

    @property
    def confidence(self) -> MetricChange | None:
        """Mean confidence; None likewise."""
        return self._metric("confidence")

    @property
    def calibration(self) -> tuple[float, float] | None:
        """Expected calibration error, (old, new); None where no probabilities were logged."""
        row = self._metric("calibration_error")
        if row is None or row.old is None or row.new is None:
            return None
        return row.old, row.new

    def _metric(self, name: str) -> MetricChange | None:
        return next((row for row in self.metrics if row.name == name), None)


def compare_behaviour(
    new: Predictions, old: Predictions, pairing: Pairing | None = None
) -> Behaviour | None:
    """Measure how two models differ beyond their error; None without common examples."""
    pairing = pair(new, old) if pairing is None else pairing
    n = len(pairing)
    if n == 0:
        return None
    ours, theirs = pairing.rows
    answers = class_numbers(new, old, pairing)
    if answers is None:
        different = np.asarray(new.predictions[ours] != old.predictions[theirs], np.bool_)
    else:
        different = answers[1] != answers[2]
    metrics = of_classes(new, old, pairing, answers, clusters(new, pairing))
    classes, slices = class_column(new, pairing), slice_columns(new, pairing)
    class_table, slice_table = tabulate_together(classes, slices, pairing)
    return Behaviour(
        n=n,
        churn=float(different.mean()),
        negative_flips=pairing.broken / n,
        metrics=metrics,
        classes=class_table,
        slices=slice_table,
        discovered=discover_slices({**slices, **classes}, new.ids[ours], pairing),
    )


def behaviour_sentences(behaviour: Behaviour) -> tuple[str, ...]:
    """What a person should know of it, whatever the error does.

    How many answers changed is always said; of all else, what was shown to have changed.
    """
    said = [
        f"{100 * behaviour.churn:.2f} % of the answers changed; "
        f"{100 * behaviour.negative_flips:.2f} % of the examples were right and are wrong now."
    ]
    for noun, table in (
        ("class", behaviour.classes),
        ("slice", behaviour.slices),
        ("discovered slice", behaviour.discovered),
    ):
        shown = [row for row in table if row.pvalue < ALPHA]
        said += [_group_words(noun, row) for row in shown[:MOST_NAMED]]
        if len(shown) > MOST_NAMED:
            said.append(f"{len(shown) - MOST_NAMED} more of this kind changed; see the table.")
    said += [words for row in behaviour.metrics if (words := _metric_words(row))]
    return tuple(said)


def _metric_words(row: MetricChange) -> str | None:
    """One metric that was shown to have changed."""
    shown = row.pvalue is not None and row.pvalue < ALPHA and row.interval is not None
    if not shown or row.interval is None or row.effect is None or row.new is None:
        return None
    low, high = row.interval
    if row.name == "loss":
        return (
            f"The mean loss changed by {row.effect:+.4g} "
            f"(95 % interval {low:+.4g} to {high:+.4g})."
        )
    name = _NAMES[row.name]
    if not 0 <= row.new <= 1:
        return f"The {name} changed by {row.effect:+.4g} to {row.new:.4g}."
    return (
        f"The {name} changed by {100 * row.effect:+.2f} points to {100 * row.new:.2f} % "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f})."
    )


def mix_sentence(new: Predictions, old: Predictions) -> str | None:
    """For different test sets: how much of the difference is their mix of classes."""
    split = mix_split(new, old)
    if split is None:
        return None
    return (
        f"Of the difference of {100 * split.total:+.2f} points, {100 * split.mix:+.2f} come "
        f"from another mix of classes in the test set and {100 * split.rate:+.2f} from other "
        "error rates within the classes."
    )


def mix_split(new: Predictions, old: Predictions) -> KitagawaSplit | None:
    """Kitagawa's split over classes; None without classes."""
    if not (len(new) and len(old) and isinstance(new.targets[0], str)):
        return None
    names, codes = np.unique(
        np.concatenate([new.targets, old.targets]).astype(str), return_inverse=True
    )
    size = len(names)

    def tally(part: NDArray[np.int64], correct: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        return [
            np.bincount(part, minlength=size),
            np.bincount(part[~correct], minlength=size),
        ]

    ours, theirs = codes[: len(new)], codes[len(new) :]
    return kitagawa_split(*tally(ours, new.correct), *tally(theirs, old.correct))


def _group_words(noun: str, row: GroupChange) -> str:
    """One class or slice in words."""
    name = row.group if row.column == "class" else f"{row.column} = {row.group}"
    half = " on the held half" if noun == "discovered slice" else ""
    return (
        f"{noun.capitalize()} {name}: {100 * row.new_error:.2f} % errors instead of "
        f"{100 * row.old_error:.2f} % ({row.fixed:,} fixed, {row.broken:,} newly broken of "
        f"{row.n:,}{half}; 95 % interval {interval_words(row.interval)} points; "
        f"adjusted p = {row.pvalue:.2g})."
    )
