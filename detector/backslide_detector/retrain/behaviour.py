"""What else changed between two models: a model can change a lot at equal error."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide_detector.evidence import DataSummary, Predictions
from backslide_detector.retrain.groups import (
    GroupChange,
    class_column,
    discover_slices,
    slice_columns,
    tabulate,
)
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.stats.calibration_error import expected_calibration_error
from backslide_detector.stats.comparison import Comparison
from backslide_detector.stats.kitagawa import KitagawaSplit, kitagawa_split
from backslide_detector.stats.label_shift import label_shift
from backslide_detector.stats.paired_means import paired_mean_difference

ALPHA = 0.05
MOST_NAMED = 3
"""Classes or slices that a sentence names; the tables hold them all."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Two models on their common examples.

    Attributes:
        n: common examples.
        churn: share on which the two models answer differently.
        negative_flips: share that was right and is wrong now.
        loss: mean loss, new minus old; None when either run did not log it.
        confidence: mean confidence, new minus old; None likewise.
        calibration: expected calibration error, (old, new); None likewise, or when the scores
            are no probabilities.
        classes, slices, discovered: Holm-adjusted tables; discovered ones on a held half.
    """

    n: int
    churn: float
    negative_flips: float
    loss: Comparison | None
    confidence: Comparison | None
    calibration: tuple[float, float] | None
    classes: tuple[GroupChange, ...]
    slices: tuple[GroupChange, ...]
    discovered: tuple[GroupChange, ...]


def compare_behaviour(
    new: Predictions, old: Predictions, pairing: Pairing | None = None
) -> Behaviour | None:
    """Measure how two models differ beyond their error; None without common examples."""
    pairing = pair(new, old) if pairing is None else pairing
    n = len(pairing)
    if n == 0:
        return None
    ours, theirs = pairing.rows
    different = np.asarray(new.predictions[ours] != old.predictions[theirs], dtype=np.bool_)
    calibration = None
    confidence = _means(new.score, old.score, pairing)
    if confidence is not None and new.score is not None and old.score is not None:
        stated = new.score[ours], old.score[theirs]
        if all(np.all((score >= 0) & (score <= 1)) for score in stated):
            calibration = (
                expected_calibration_error(stated[1], ~pairing.old_wrong),
                expected_calibration_error(stated[0], ~pairing.new_wrong),
            )
    classes, slices = class_column(new, pairing), slice_columns(new, pairing)
    return Behaviour(
        n=n,
        churn=float(different.mean()),
        negative_flips=pairing.broken / n,
        loss=_means(new.loss, old.loss, pairing),
        confidence=confidence,
        calibration=calibration,
        classes=tabulate(classes, pairing),
        slices=tabulate(slices, pairing),
        discovered=discover_slices({**slices, **classes}, new.ids[ours], pairing),
    )


def behaviour_sentences(behaviour: Behaviour) -> tuple[str, ...]:
    """What a person should know of it; nothing is said of differences that were not shown."""
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
    if behaviour.loss is not None and behaviour.loss.pvalue < ALPHA:
        low, high = behaviour.loss.interval
        said.append(
            f"The mean loss changed by {behaviour.loss.effect:+.4g} "
            f"(95 % interval {low:+.4g} to {high:+.4g})."
        )
    if behaviour.confidence is not None and behaviour.confidence.pvalue < ALPHA:
        shift = 100 * behaviour.confidence.effect
        text = f"The mean confidence changed by {shift:+.2f} points"
        if behaviour.calibration is not None:
            before, after = (100 * error for error in behaviour.calibration)
            text += f"; the calibration error is {after:.2f} instead of {before:.2f} points"
        said.append(f"{text}.")
    return tuple(said)


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


def data_sentences(
    new: Mapping[str, DataSummary], old: Mapping[str, DataSummary]
) -> tuple[str, ...]:
    """Data sets of one name whose classes come in other shares than before."""
    said = []
    for name in sorted(new.keys() & old.keys()):
        ours, theirs = new[name].class_counts, old[name].class_counts
        if not (sum(ours.values()) and sum(theirs.values())):
            continue
        shift = label_shift(ours, theirs)
        if shift.pvalue < ALPHA:
            said.append(
                f"The classes of {name!r} come in other shares than before: "
                f"{100 * shift.distance:.2f} % of the examples would have to change class "
                f"(chi-square p = {shift.pvalue:.2g})."
            )
    return tuple(said)


def _means(
    new: NDArray[np.float64] | None, old: NDArray[np.float64] | None, pairing: Pairing
) -> Comparison | None:
    """Paired comparison of one column, on the examples where both are finite."""
    if new is None or old is None:
        return None
    ours, theirs = new[pairing.rows[0]], old[pairing.rows[1]]
    finite = np.isfinite(ours) & np.isfinite(theirs)
    if np.count_nonzero(finite) < 2:
        return None
    return paired_mean_difference(ours[finite], theirs[finite])


def _group_words(noun: str, row: GroupChange) -> str:
    """One class or slice in words."""
    name = row.group if row.column == "class" else f"{row.column} = {row.group}"
    half = " on the held half" if noun == "discovered slice" else ""
    return (
        f"{noun.capitalize()} {name}: {100 * row.new_error:.2f} % errors instead of "
        f"{100 * row.old_error:.2f} % ({row.fixed:,} fixed, {row.broken:,} newly broken of "
        f"{row.n:,}{half}; adjusted p = {row.pvalue:.2g})."
    )
