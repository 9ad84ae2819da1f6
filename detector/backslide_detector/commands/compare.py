"""`backslide compare`: the verdict for any two runs, on the terminal or as a report."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from backslide_detector.act.addresses import links
from backslide_detector.act.showing import show
from backslide_detector.commands.tracking import find_run, open_store
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.insides import insides
from backslide_detector.past import from_head
from backslide_detector.report.document import document
from backslide_detector.report.page import page
from backslide_detector.report.terminal import comparison
from backslide_detector.retrain.ablation import belongs_to
from backslide_detector.settings import Settings
from backslide_detector.store.server import MlflowStore

WIDTH: Final = 140
"""Columns where there is no terminal to ask."""


def compare_runs(
    run_a: str,
    run_b: str,
    settings: Settings,
    *,
    as_json: bool,
    opening: bool,
    output: Path | None,
) -> None:
    """Judges the second run against the first and prints, writes or shows the answer."""
    store = open_store(settings)
    heads = tuple(find_run(store, run) for run in (run_a, run_b))
    old, new = (store.read(head) for head in heads)
    case = _case(store, settings, heads, (old, new))
    judgement = judge(case).judgement
    if opening or output is not None:
        place = (old.experiment_id, old.run_id)
        where = links(settings.tracking_uri, heads[1], place)
        show(page(judgement, new, old, where, case.pair), output, opening=opening)
    if as_json:
        click.echo(json.dumps(document(judgement), indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for part in comparison(judgement):
        if isinstance(part, str):
            click.echo(part)
        else:
            console.print(part)


def _case(
    store: MlflowStore,
    settings: Settings,
    heads: tuple[RunHead, ...],
    runs: tuple[RunEvidence, RunEvidence],
) -> Case:
    """Two runs, with earlier ones of the lineage as the server lists them.

    These tell the noise between retrains, and what is usual inside. Seed repeats tell it at any
    time: most are made after a retrain has raised the question.
    """
    old, new = runs
    listed = store.lineage(new.lineage) if new.lineage is not None else []
    past = [from_head(h, settings.metrics) for h in listed if belongs_to(h.tags) is None]
    history = tuple(
        run for run in past if run.finished and (run.started < new.started or run.recipe)
    )
    case = Case(new, old, margin=settings.margin, mapping=settings.metrics, history=history)
    if new.probe is None or old.probe is None:
        return case
    known = {head.run_id: head for head in listed}
    healthy, parent = insides(store, heads[1], heads[0], (known, history))
    return replace(case, healthy=healthy, parent=parent)
