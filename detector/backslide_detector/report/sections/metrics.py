"""Every metric of the two models, before and now."""

from typing import Final

from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.measures import MeasureRow, measure_rows, methods
from backslide_detector.report.section import Absent, Section, Table

TITLE = "All metrics, before and now"
ROWS: Final = 25
"""Classes, slices and logged numbers shown, those first that changed most clearly."""

_HEAD: Final = ("before", "now", "difference", "95 % interval", "p", "n")


def metrics(
    judgement: Judgement,
    new: RunEvidence,  # noqa: ARG001  # every section is asked alike
    old: RunEvidence | None,  # noqa: ARG001  # the same
) -> Section | Absent:
    """A table for each kind of metric, with intervals where examples were logged."""
    if not judgement.retrain.metrics:
        return Absent(TITLE, "There was nothing to compare with.")
    overall = measure_rows(judgement, "gate", "metric")
    tables = [_table("Over all examples", overall)]
    for role, title in (
        ("class", "Recall of each class"),
        ("slice", "Each slice"),
        ("discovered", "Discovered slices"),
    ):
        rows = measure_rows(judgement, role)
        if rows:
            tables.append(_table(f"{title} ({rows[0].method})", rows))
    logged = measure_rows(judgement, "logged")
    if logged:
        tables.append(_logged(logged))
    return Section("metrics", TITLE, _lead(overall), (), tuple(tables))


def _lead(rows: list[MeasureRow]) -> str:
    worse = [row.name for row in rows if row.shown == "worse"]
    better = [row.name for row in rows if row.shown == "better"]
    said = [
        f"Shown to be {way}: {', '.join(names)}."
        for way, names in (("worse", worse), ("better", better))
        if names
    ]
    said.append(
        "The first row decides the verdict; the p-values of the others are adjusted for how "
        "many there are (Holm). A difference is now minus before."
    )
    said.append(f"Methods: {methods(rows)}.")
    return " ".join(said)


def _table(title: str, rows: list[MeasureRow]) -> Table:
    shown = rows[:ROWS]
    caption = title if len(rows) <= ROWS else f"{title}: {ROWS} of {len(rows):,}"
    return Table(
        caption,
        ("metric", "better is", "shown", *_HEAD),
        tuple(
            (
                row.name,
                row.better,
                row.shown,
                row.old,
                row.new,
                row.difference,
                row.interval,
                row.pvalue,
                row.n,
            )
            for row in shown
        ),
        words=3,
    )


def _logged(rows: list[MeasureRow]) -> Table:
    return Table(
        "Logged as numbers alone: no interval, so what is luck cannot be told",
        ("metric", "better is", "before", "now", "difference"),
        tuple((row.name, row.better, row.old, row.new, row.difference) for row in rows[:ROWS]),
        words=2,
    )
