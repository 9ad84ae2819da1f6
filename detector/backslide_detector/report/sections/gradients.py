"""Gradients, layer by layer."""

import math

import numpy as np

from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import power
from backslide_detector.report.pictures import png
from backslide_detector.report.pictures.columns import columns, median_exponent
from backslide_detector.report.pictures.layers import Colours, layer_map
from backslide_detector.report.section import Absent, Block, Figure, Section
from backslide_detector.report.sections.tensors import (
    UNMEASURED,
    flags,
    histograms,
    left_out,
    table,
    tensors,
)

TITLE = "Gradients, layer by layer"


def gradients(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """The median size of every layer's gradient over training, then the whole distribution."""
    history = new.gradients
    if history is None or not len(history.steps) or not len(history.layers):
        return Absent(TITLE, UNMEASURED.format("gradients"))
    before = old.gradients if old is not None and old.gradients else None
    chosen = tensors(history, flags(judgement))
    index = [t.index for t in chosen]
    grid = columns(history.steps)
    counts = history.histogram[:, index]
    sizes = median_exponent(grid.total(counts)) * math.log10(2)
    sizes = np.where(np.isnan(sizes) & (grid.total(counts).sum(axis=2) > 0), -np.inf, sizes)
    broken = grid.highest(history.nonfinite_fraction[:, index]) > 0
    sizes = np.where(broken, np.inf, sizes)
    finite = sizes[np.isfinite(sizes)]
    low, high = (math.floor(finite.min()), math.ceil(finite.max())) if len(finite) else (-8, 0)
    overview = layer_map(
        "median size of the gradient",
        [(t.module, t.kind, t.flag is not None) for t in chosen],
        sizes,
        (grid.first, grid.last),
        Colours(png.sequence(), low, max(high, low + 1), power),
    )
    lead = (
        "Layers run from the input (top) to the output. A layer that stays decades below the"
        " others hardly learns; judge the early part, the end often looks normal."
    )
    blocks = (
        Block("wide", (Figure(overview),)),
        *histograms(chosen, history, before, "gradients"),
    )
    tables = (table(chosen, history, before, "gradients"),)
    lead += left_out(chosen, history)
    return Section("gradients", TITLE, lead, blocks, tables)
