"""Loss and error over training."""

from collections.abc import Iterator

import numpy as np

from backslide_detector import names
from backslide_detector.evidence import RunEvidence, Series
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import number, percent
from backslide_detector.report.pictures.curves import curve, finite
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "Loss and error over training"
ROWS = 12

_QUANTITIES = (
    ("Training loss", names.training_loss, False),
    ("Validation loss", names.validation_loss, False),
    ("Training error", names.training_error, True),
    ("Validation error", names.validation_error, True),
)


def curves(judgement: Judgement, new: RunEvidence, old: RunEvidence | None) -> Section | Absent:
    """Both runs' curves of every quantity that was logged more than once."""
    found = list(_found(new, old))
    if not found:
        return Absent(TITLE, "The run logged no loss or error more than once.")
    last = max(int(s.steps[-1]) for _, mine, theirs, _ in found for s in (mine, theirs) if s)
    since = judgement.findings[0][1].since_step if judgement.findings else None
    last = max(last, since or 0)
    figures = tuple(
        Figure(
            curve(title, mine, theirs, last, share=share, since=since),
            title,
            caption=_caption(mine, theirs, share=share),
        )
        for title, mine, theirs, share in found
    )
    legend = [("new", "this run")]
    if any(theirs is not None for _, _, theirs, _ in found):
        legend.append(("old", "predecessor"))
    legend.append(("range", "range of neighbouring steps"))
    if since is not None:
        legend.append(("since", f"first finding, step {since:,}"))
    if any(not finite(s.values).all() for _, a, b, _ in found for s in (a, b) if s):
        legend.append(("broken", "NaN or infinite"))
    lead = "Lower is better. An axis becomes logarithmic where the values span two decades."
    tables = tuple(_table(*each) for each in found)
    block = Block("panels", figures, legend=tuple(legend))
    return Section("curves", TITLE, lead, (block,), tables)


def _found(
    new: RunEvidence, old: RunEvidence | None
) -> Iterator[tuple[str, Series, Series | None, bool]]:
    for title, find, share in _QUANTITIES:
        mine = find(new.series)
        if mine is None or len(mine) < 2:
            continue
        theirs = find(old.series) if old is not None else None
        yield title, mine, theirs or None, share


def _caption(mine: Series, theirs: Series | None, *, share: bool) -> str:
    write = percent if share else number
    said = f"last {write(mine.last)}"
    return said + (f", predecessor {write(theirs.last)}" if theirs is not None else "")


def _table(title: str, mine: Series, theirs: Series | None, share: bool) -> Table:
    write = percent if share else number
    steps = np.unique(np.linspace(0, len(mine) - 1, ROWS).round().astype(int))
    rows = []
    for index in steps:
        step = int(mine.steps[index])
        row = [f"{step:,}", write(float(mine.values[index]))]
        if theirs is not None:
            row.append(write(_at(theirs, step)))
        rows.append(tuple(row))
    head = ("step", "this run", *(["predecessor"] if theirs is not None else []))
    return Table(f"{title} at {len(rows)} of {len(mine):,} points", head, tuple(rows), words=0)


def _at(series: Series, step: int) -> float | None:
    """The newest value up to a step; None before the first and after the last."""
    index = int(np.searchsorted(series.steps, step, side="right")) - 1
    return float(series.values[index]) if index >= 0 and step <= series.steps[-1] else None
