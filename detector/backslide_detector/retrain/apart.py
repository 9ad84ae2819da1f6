"""Metrics of two classifiers on different examples: each by itself, then compared."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

from backslide_detector.evidence import Floats, Predictions
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.overall import LINEARISED, holm_adjusted, ranking
from backslide_detector.stats.comparison import Comparison
from backslide_detector.stats.linearised import auc_terms, calibration_terms, macro_f1_terms
from backslide_detector.stats.unpaired import unpaired_difference
from backslide_detector.stats.unpaired_means import unpaired_mean_difference

MOST_CLASSES: Final = 50
"""Classes that get a row, the commonest: each takes an exact test."""
_BETTER: Final = {
    "loss": "lower",
    "f1_macro": "higher",
    "calibration_error": "lower",
    "confidence": None,
    "auc": "higher",
}
_PLAIN: Final = {"loss", "confidence"}
"""Metrics that are means themselves."""


def apart_rows(new: Predictions, old: Predictions) -> tuple[MetricChange, ...]:
    """What both classifiers can be measured by, and the recall of each class; Holm-adjusted.

    P-values of the classes are adjusted together with those of the metrics.
    """
    ours, theirs = dict(_terms(new)), dict(_terms(old))
    rows = []
    for name, terms in ours.items():
        here, there = (each[np.isfinite(each)] for each in (terms, theirs.get(name, _NONE)))
        if min(len(here), len(there)) < 2:
            continue
        found = unpaired_mean_difference(here, there)
        note = "" if name in _PLAIN else LINEARISED
        rows.append(_row(name, _BETTER[name], found, there.mean(), here.mean(), note=note))
    return holm_adjusted([*rows, *_recalls(new, old)])


_NONE: Final[Floats] = np.empty(0)


def _terms(table: Predictions) -> Iterator[tuple[str, Floats]]:
    """Each metric of one model as terms whose mean it is, shape (n,)."""
    if table.loss is not None:
        yield "loss", table.loss
    present: list[str] = []
    if len(table) and isinstance(table.targets[0], str):
        codes, names = pd.factorize(np.concatenate([table.targets, table.predictions]))
        truth, said = codes[: len(table)].astype(np.int64), codes[len(table) :].astype(np.int64)
        present = [str(names[code]) for code in np.unique(truth)]
        yield "f1_macro", macro_f1_terms(truth, said)
    score = table.score
    if score is None:
        return
    if len(score) and np.all((score >= 0) & (score <= 1)):
        yield "calibration_error", calibration_terms(score, table.correct)
    yield "confidence", score
    if len(present) == 2:
        no, yes = present
        ranks = ranking(table.predictions == yes, table.predictions == no, score)
        if ranks is not None:
            yield "auc", auc_terms(table.targets == yes, ranks)


def _recalls(new: Predictions, old: Predictions) -> Iterator[MetricChange]:
    """Recall of the commonest classes: what is not an error among a class's examples."""
    if not (len(new) and len(old) and isinstance(new.targets[0], str)):
        return
    ours, theirs = _tally(new), _tally(old)
    common = ours.index.intersection(theirs.index)
    commonest = ours.loc[common].sort_values("examples", ascending=False, kind="stable")
    for label in commonest.index[:MOST_CLASSES]:
        here, there = ours.loc[label], theirs.loc[label]
        found = unpaired_difference(
            int(here.wrong), int(here.examples), int(there.wrong), int(there.examples)
        )
        low, high = found.interval
        yield MetricChange(
            f"recall/{label}",
            "higher",
            found.n,
            1 - float(there.wrong / there.examples),
            1 - float(here.wrong / here.examples),
            -found.effect,
            (-high, -low),
            found.pvalue,
            role="class",
            method=found.method,
        )


def _tally(table: Predictions) -> pd.DataFrame:
    """Examples and wrong answers of each class."""
    codes, names = pd.factorize(table.targets)
    examples = np.bincount(codes, minlength=len(names))
    wrong = np.bincount(codes[~table.correct], minlength=len(names))
    return pd.DataFrame({"examples": examples, "wrong": wrong}, index=names)


def _row(
    name: str, better: str | None, found: Comparison, old: float, new: float, *, note: str
) -> MetricChange:
    return MetricChange(
        name,
        better,
        found.n,
        old=float(old),
        new=float(new),
        effect=found.effect,
        interval=found.interval,
        pvalue=found.pvalue,
        method=found.method + note,
    )
