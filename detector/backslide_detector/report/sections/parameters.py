"""Weights and updates, layer by layer: how large they are, over training."""

from collections.abc import Mapping

from backslide_detector.evidence import LayerHistory, RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.section import Absent, Section
from backslide_detector.report.sections.tensors import (
    UNMEASURED,
    flags,
    histograms,
    left_out,
    table,
    tensors,
)


def weights(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """The sizes of the weights of every layer."""
    lead = (
        "Weights that shrink towards zero or spread out over many decades say that the penalty "
        "or the steps are too large."
    )
    before = None if old is None else old.weights
    return _section("weights", lead, flags(judgement), (new.weights, before))


def updates(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """The sizes of what each step added to the weights."""
    lead = (
        "What a step adds to the weights; a thousandth of the weights themselves is usual, and "
        "a layer whose updates are zero does not learn."
    )
    before = None if old is None else old.updates
    return _section("updates", lead, flags(judgement), (new.updates, before))


def _section(
    key: str,
    lead: str,
    flagged: Mapping[str, str],
    both: tuple[LayerHistory | None, LayerHistory | None],
) -> Section | Absent:
    title = f"{key.capitalize()}, layer by layer"
    history, old = both
    if history is None or not len(history.steps) or not len(history.layers):
        return Absent(title, UNMEASURED.format(key))
    old = old if old is not None and len(old.steps) else None
    chosen = tensors(history, flagged)
    return Section(
        key,
        title,
        lead + left_out(chosen, history),
        histograms(chosen, history, old, key),
        (table(chosen, history, old, key),),
    )
