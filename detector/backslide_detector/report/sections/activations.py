"""Activations and dead units, layer by layer."""

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import Floats, LayerHistory, RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import percent
from backslide_detector.report.pictures import png
from backslide_detector.report.pictures.columns import columns
from backslide_detector.report.pictures.layers import Colours, layer_map
from backslide_detector.report.section import Absent, Block, Figure, Section, Table
from backslide_detector.report.sections.tensors import (
    UNMEASURED,
    Tensor,
    flags,
    histograms,
    left_out,
    table,
    tensors,
)

TITLE = "Activations and dead units"
_RED = (208, 52, 44)
_LEAST = 0.06  # so that a measured zero still differs from the ground


def activations(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """Dead and saturated units over training, then the distribution of the activations."""
    history = new.activations
    if history is None or not len(history.steps) or not len(history.layers):
        return Absent(TITLE, UNMEASURED.format("activations"))
    before = old.activations if old is not None and old.activations else None
    chosen = tensors(history, flags(judgement))
    maps = [
        (history.dead_fraction, "share of dead units", "Dead units: zero on every example"),
        (history.saturated_fraction, "share of saturated units", "Units stuck at their bounds"),
    ]
    blocks = [
        Block("wide", (Figure(_map(title, chosen, history, values)),), heading)
        for values, title, heading in maps
        if np.isfinite(values[:, [t.index for t in chosen]]).any()
    ]
    lead = "A dead unit passes nothing on and, as a rule, never recovers; some are normal."
    tables = [table(chosen, history, before, "activations")]
    if np.isfinite(history.dead_fraction).any():
        tables.insert(0, _dead(chosen, history, before))
    blocks += histograms(chosen, history, before, "activations")
    lead += left_out(chosen, history)
    return Section("activations", TITLE, lead, tuple(blocks), tuple(tables))


def _map(title: str, chosen: list[Tensor], history: LayerHistory, values: Floats) -> Markup:
    known = [t for t in chosen if np.isfinite(values[:, t.index]).any()]
    grid = columns(history.steps)
    return layer_map(
        title,
        [(t.module, t.kind, t.flag is not None) for t in known],
        grid.highest(values[:, [t.index for t in known]]),
        (grid.first, grid.last),
        Colours(png.fade(*_RED, least=_LEAST), 0.0, 1.0, lambda share: f"{share:.0%}"),
    )


def _dead(chosen: list[Tensor], new: LayerHistory, old: LayerHistory | None) -> Table:
    there = {name: i for i, name in enumerate(old.layers)} if old is not None else {}
    rows = []
    for t in chosen:
        shares = new.dead_fraction[:, t.index]
        known = np.flatnonzero(np.isfinite(shares))
        if not len(known):
            continue
        peak = known[np.argmax(shares[known])]
        name = new.layers[t.index]
        row = [
            name,
            t.kind or "–",
            percent(float(shares[known[0]])),
            f"{percent(float(shares[peak]))} at step {int(new.steps[peak]):,}",
            percent(float(shares[known[-1]])),
        ]
        if old is not None:
            before = old.dead_fraction[-1, there[name]] if name in there else None
            row.append("–" if before is None else percent(float(before)))
        rows.append(tuple(row))
    head = ("layer", "kind", "first", "most", "last")
    before_head = ("predecessor, last",) if old is not None else ()
    return Table("Dead units in numbers", head + before_head, tuple(rows), words=2)
