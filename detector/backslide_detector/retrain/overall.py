"""Metrics of two models over all their common examples, with directions and intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backslide_detector.evidence import Floats, Ints, Predictions
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.pairing import Pairing
from backslide_detector.stats.linearised import (
    auc_terms,
    calibration_terms,
    macro_f1_terms,
    r2_terms,
    rmse_terms,
)
from backslide_detector.stats.multiplicity import holm
from backslide_detector.stats.paired_means import paired_mean_difference

LINEARISED: Final = ", linearised"
"""Of metrics that are no means: see `stats/linearised.py`."""


def paired_row(
    name: str,
    better: str | None,
    terms: tuple[Floats, Floats],
    groups: Ints | None = None,
    *,
    note: str = "",
    resample: bool = True,
) -> MetricChange | None:
    """One metric from its terms on common examples; None with fewer than two finite pairs.

    Args:
        name: of the metric.
        better: "lower", "higher" or None.
        terms: of each common example under the new and the old model, shape (n,) each; their
            means are the metric.
        groups: what examples come in, shape (n,).
        note: added to the method.
        resample: False for Student's interval at any size.
    """
    new, old = terms
    finite = np.isfinite(new) & np.isfinite(old)
    if not finite.all():
        new, old = new[finite], old[finite]
        groups = None if groups is None else groups[finite]
    if len(new) < 2 or (groups is not None and np.all(groups == groups[0])):
        return None
    found = paired_mean_difference(new, old, groups=groups, resample=resample)
    return MetricChange(
        name,
        better,
        found.n,
        old=float(old.mean()),
        new=float(new.mean()),
        effect=found.effect,
        interval=found.interval,
        pvalue=found.pvalue,
        method=found.method + note,
    )


def of_classes(
    new: Predictions,
    old: Predictions,
    pairing: Pairing,
    answers: tuple[Ints, Ints, Ints] | None,
    groups: Ints | None = None,
) -> tuple[MetricChange, ...]:
    """Loss, macro F1, calibration error, confidence and AUC of two classifiers, Holm-adjusted.

    Args:
        new: predictions of the new model.
        old: predictions of the old model.
        pairing: their common examples.
        answers: targets, new and old predictions of the common examples as class numbers.
        groups: what examples come in.
    """
    ours, theirs = pairing.rows

    def rows() -> Iterator[MetricChange | None]:
        if new.loss is not None and old.loss is not None:
            yield paired_row("loss", "lower", (new.loss[ours], old.loss[theirs]), groups)
        if answers is not None:
            truth, said, before = answers
            f1 = macro_f1_terms(truth, said), macro_f1_terms(truth, before)
            yield paired_row("f1_macro", "higher", f1, groups, note=LINEARISED)
        if new.score is None or old.score is None:
            return
        stated, then = scores = new.score[ours], old.score[theirs]
        if all(np.all((score >= 0) & (score <= 1)) for score in scores):
            terms = (
                calibration_terms(stated, ~pairing.new_wrong),
                calibration_terms(then, ~pairing.old_wrong),
            )
            yield paired_row("calibration_error", "lower", terms, groups, note=LINEARISED)
        yield paired_row("confidence", None, scores, groups)
        areas = None if answers is None else _areas(answers, scores)
        if areas is not None:
            yield paired_row("auc", "higher", areas, groups, note=LINEARISED)

    return holm_adjusted([row for row in rows() if row is not None])


def _areas(
    answers: tuple[Ints, Ints, Ints], scores: tuple[Floats, Floats]
) -> tuple[Floats, Floats] | None:
    """Terms of the area under the ROC curve of two models of two classes, else None."""
    truth = answers[0]
    classes = np.unique(truth)
    if len(classes) != 2:
        return None
    positive = truth == classes[1]
    ranks = [
        ranking(said == classes[1], said == classes[0], score)
        for said, score in zip(answers[1:], scores, strict=True)
    ]
    if ranks[0] is None or ranks[1] is None:
        return None
    return auc_terms(positive, ranks[0]), auc_terms(positive, ranks[1])


def ranking(
    said_yes: NDArray[np.bool_], said_no: NDArray[np.bool_], score: Floats
) -> Floats | None:
    """How positive each example looks; None where the scores do not tell.

    A score is the confidence in the answer that was given, at least one half where there are
    two. Where it is not, it may be that of one class whatever the answer: then all answers for
    that class have a larger one than all others.
    """
    if not np.all(np.isfinite(score)) or not np.all(said_yes | said_no):
        return None
    if np.all((score >= 0.5) & (score <= 1)):
        return np.where(said_yes, score, 1 - score)
    if not (said_yes.any() and said_no.any()):
        return None
    yes, no = score[said_yes], score[said_no]
    if yes.min() >= no.max():
        return score
    return -score if yes.max() <= no.min() else None


def of_values(
    new: Predictions, old: Predictions, pairing: Pairing, groups: Ints | None = None
) -> tuple[MetricChange, ...]:
    """The usual metrics of two regressions, and their losses where logged; Holm-adjusted."""
    ours, theirs = pairing.rows
    truth, said, before = (
        column.astype(np.float64)
        for column in (new.targets[ours], new.predictions[ours], old.predictions[theirs])
    )
    finite = np.isfinite(truth) & np.isfinite(said) & np.isfinite(before)
    truth, now, then = truth[finite], (said - truth)[finite], (before - truth)[finite]
    within = None if groups is None else groups[finite]

    def rows() -> Iterator[MetricChange | None]:
        if new.loss is not None and old.loss is not None:
            yield paired_row("loss", "lower", (new.loss[ours], old.loss[theirs]), groups)
        if len(truth) < 2:
            return
        yield paired_row("mse", "lower", (now**2, then**2), within)
        roots = rmse_terms(now), rmse_terms(then)
        yield paired_row("rmse", "lower", roots, within, note=LINEARISED)
        yield paired_row("mae", "lower", (np.abs(now), np.abs(then)), within)
        if np.ptp(truth) > 0:
            shares = r2_terms(truth, now), r2_terms(truth, then)
            yield paired_row("r2", "higher", shares, within, note=LINEARISED)
        yield paired_row("bias", None, (now, then), within)

    return holm_adjusted([row for row in rows() if row is not None])


def holm_adjusted(rows: Sequence[MetricChange]) -> tuple[MetricChange, ...]:
    """P-values adjusted for the number of metrics that were tested."""
    tested = [row.pvalue for row in rows if row.pvalue is not None]
    left = iter(holm(tested).tolist())
    return tuple(row if row.pvalue is None else replace(row, pvalue=next(left)) for row in rows)


def class_numbers(
    new: Predictions, old: Predictions, pairing: Pairing
) -> tuple[Ints, Ints, Ints] | None:
    """Targets, new and old predictions of the common examples, numbered alike.

    None where targets are no text.
    """
    if not len(pairing) or not isinstance(new.targets[0], str):
        return None
    ours, theirs = pairing.rows
    columns = (new.targets, ours), (new.predictions, ours), (old.predictions, theirs)
    factors = [pd.factorize(values) for values, _ in columns]
    labels = pd.Index(np.concatenate([names for _, names in factors])).unique()
    truth, said, before = (
        labels.get_indexer(pd.Index(names))[codes[rows]].astype(np.int64)
        for (codes, names), (_, rows) in zip(factors, columns, strict=True)
    )
    return truth, said, before
