"""How the data of two runs differ: a lead to the cause, and never more than that."""

from collections.abc import Mapping

import numpy as np

from backslide.contract import Cause
from backslide_detector.evidence import DataSummary, Sketch
from backslide_detector.judgement import Change, Shift
from backslide_detector.stats.domain_classifier import DomainShift, domain_classifier
from backslide_detector.stats.label_shift import LabelShift, label_shift

ALPHA = 0.05
FEWEST = 20
"""Distinct examples of each data set below which a classifier has nothing to learn from."""


def data_shifts(
    new: Mapping[str, DataSummary], old: Mapping[str, DataSummary]
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The shifts shown between data sets of one name, and in words what was looked for.

    Class shares are compared wherever both runs counted classes; inputs wherever both runs kept
    a sketch, the contents differ, and the examples are of one shape.
    """
    found: list[Change] = []
    said: list[str] = []
    common = sorted(new.keys() & old.keys())
    inputs = {name: shift for name in common if (shift := _inputs(new[name], old[name]))}
    for name in common:
        labels = _labels(new[name], old[name])
        if labels is not None and labels.pvalue < ALPHA:
            found.append(_change(f"{name} class shares", labels))
            said.append(
                f"The classes of {name!r} come in other shares than before: "
                f"{100 * labels.distance:.2f} % of the examples would have to change class "
                f"(chi-square p = {labels.pvalue:.2g})."
            )
        if name in inputs:
            shown = inputs[name].pvalue < ALPHA / len(inputs)
            found += [_change(f"{name} inputs", inputs[name])] if shown else []
            said.append(_input_words(name, inputs[name], shown=shown))
    return tuple(found), tuple(said)


def _labels(new: DataSummary, old: DataSummary) -> LabelShift | None:
    ours, theirs = new.class_counts, old.class_counts
    if not (sum(ours.values()) and sum(theirs.values())):
        return None
    return label_shift(ours, theirs)


def _inputs(new: DataSummary, old: DataSummary) -> DomainShift | None:
    """Compares two sketches where both hold exactly what their data sets do: below a key."""
    ours, theirs = new.sketch, old.sketch
    if ours is None or theirs is None or new.digest == old.digest:
        return None
    if ours.layout != theirs.layout or ours.values.shape[1] != theirs.values.shape[1]:
        return None
    limit = min(_limit(ours), _limit(theirs))
    keys, first = np.unique(np.concatenate([ours.keys, theirs.keys]), return_index=True)
    seen = keys <= limit
    keys, first = keys[seen], first[seen]
    in_new, in_old = np.isin(keys, ours.keys), np.isin(keys, theirs.keys)
    if min(in_new.sum(), in_old.sum()) < FEWEST or (in_new == in_old).all():
        return None
    values = np.concatenate([ours.values, theirs.values])[first]
    return domain_classifier(values, in_new, in_old)


def _limit(sketch: Sketch) -> np.uint64:
    """The largest key up to which the sketch holds every example of its data set."""
    return np.uint64(np.iinfo(np.uint64).max) if sketch.whole else sketch.keys[-1]


def _change(what: str, measured: LabelShift | DomainShift) -> Change:
    size = (
        f"told apart with AUC {measured.statistic:.2f}"
        if isinstance(measured, DomainShift)
        else f"{100 * measured.distance:.2f} % moved"
    )
    shift = Shift(measured.statistic, measured.pvalue, measured.n, measured.method)
    return Change(Cause.DATA, what, None, size, shift)


def _input_words(name: str, found: DomainShift, *, shown: bool) -> str:
    size = f"AUC {found.statistic:.2f} (0.5 is chance), p = {found.pvalue:.2g}"
    if shown:
        return (
            f"The inputs of {name!r} look different: a classifier tells them apart with "
            f"{size}. That is a lead, not yet the cause."
        )
    return f"The inputs of {name!r} changed but look alike: a classifier has {size}."
