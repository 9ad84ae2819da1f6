"""A comparison on the terminal: the verdict, both answers, and every metric."""

from collections.abc import Iterator
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from backslide_detector.judgement import Judgement
from backslide_detector.report.measures import MeasureRow, measure_rows, methods
from backslide_detector.report.phrases import CAUSES, KINDS, brief, estimate, plain

MOST_GROUPS: Final = 8
"""Classes and slices of each kind that get a row."""
_TONES: Final = {"worse": "red", "better": "green", "changed": "yellow"}
_ROLES: Final = (("gate", "metric"), ("class",), ("slice",), ("discovered",), ("logged",))


def comparison(judgement: Judgement) -> Iterator[str | Table]:
    """What `backslide compare` prints, from top to bottom; lines are not broken."""
    retrain = judgement.retrain
    yield f"{retrain.verdict.value}: {plain(retrain.sentence)}"
    if retrain.compared_to is not None:
        model = estimate(retrain.model, retrain.measure)
        recipe = estimate(retrain.recipe, retrain.measure)
        yield f"This model against that model: {model}"
        yield f"This recipe against that recipe: {recipe}"
    if retrain.cause:
        yield f"Likely cause: {', '.join(CAUSES[cause] for cause in retrain.cause)}."
    if retrain.advice:
        yield f"Next: {plain(retrain.advice)}"
    if retrain.metrics:
        yield ""
        yield _metrics(judgement)
        yield ""
        yield f"Methods: {methods(measure_rows(judgement, 'gate', 'metric'))}."
    yield from (f"- {plain(said)}" for said in retrain.behaviour)
    if retrain.changed:
        yield "What changed:"
    for change in retrain.changed:
        sides = [brief("absent" if v is None else v) for v in (change.old, change.new)]
        said = sides[1] if change.shift is not None else " -> ".join(sides)
        yield f"  {KINDS[change.kind]}: {plain(change.what)}: {said}"


def _metrics(judgement: Judgement) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("metric", "better"):
        table.add_column(name, overflow="fold")
    for name in ("before", "now", "difference", "95 % interval"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("shown")
    for roles in _ROLES:
        rows = measure_rows(judgement, *roles)
        most = len(rows) if roles[0] in {"gate", "logged"} else MOST_GROUPS
        for row in rows[:most]:
            table.add_row(*_cells(row))
        if len(rows) > most:
            table.add_row(f"{len(rows) - most:,} more like these, less clear")
        table.add_section()
    return table


def _cells(row: MeasureRow) -> tuple[Text, ...]:
    cells = (row.name, row.better, row.old, row.new, row.difference, row.interval)
    return (*map(Text, cells), Text(row.shown, style=_TONES.get(row.shown, "")))
