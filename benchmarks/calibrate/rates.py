"""Measured rates with their Monte-Carlo intervals, and the pages they go to."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: value, 95 % Monte-Carlo interval, and what it is held against."""

    table: str
    case: str
    what: str
    value: float
    low: float
    high: float
    target: str = ""
    met: bool | None = None


def rate(table, case, what, hits, of, *, at_most=None, at_least=None) -> Figure:
    """A share of simulated cases; a target is missed when the whole interval lies beyond it."""
    low, high = proportion_confint(hits, of, method="wilson")
    low, high = (low if hits else 0.0), (high if hits < of else 1.0)  # without its rounding
    return _held(Figure(table, case, what, hits / of, low, high), at_most, at_least)


def known(table, case, what, value, *, at_most=None, at_least=None) -> Figure:
    """A rate that was computed, not simulated."""
    return _held(Figure(table, case, what, value, value, value), at_most, at_least)


def mean(table, case, what, values, *, at_most=None, at_least=None) -> Figure:
    """A mean over independent streams."""
    values = np.asarray(values, dtype=float)
    centre = values.mean()
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    figure = Figure(table, case, what, centre, centre - half, centre + half)
    return _held(figure, at_most, at_least)


def _held(figure, at_most, at_least) -> Figure:
    """The figure with its target."""
    target, met = "", None
    if at_most is not None:
        target, met = f"<= {at_most:g}", bool(figure.low <= at_most)
    if at_least is not None:
        target, met = f">= {at_least:g}", bool(figure.high >= at_least)
    return Figure(
        figure.table, figure.case, figure.what, float(figure.value), float(figure.low),
        float(figure.high), target, met,
    )  # fmt: skip


def renewed(folder: Path, figures: list[Figure]) -> list[Figure]:
    """What `results.json` holds, with the tables of these figures renewed."""
    written = [Figure(**row) for row in json.loads((folder / "results.json").read_text())]
    tables = dict.fromkeys(figure.table for figure in (*written, *figures))
    fresh = {figure.table for figure in figures}
    return [
        figure
        for table in tables
        for figure in (figures if table in fresh else written)
        if figure.table == table
    ]


def write(figures: list[Figure], folder: Path, preface: str) -> None:
    """Write `results.json` and `results.md`."""
    (folder / "results.json").write_text(
        json.dumps([asdict(figure) for figure in figures], indent=1) + "\n"
    )
    lines = ["# What the statistics keep of their promises", "", preface]
    for table in dict.fromkeys(figure.table for figure in figures):
        lines += ["", f"## {table}", ""]
        lines += ["| case | measured | value | 95 % interval | target | |"]
        lines += ["|---|---|---|---|---|---|"]
        for f in (figure for figure in figures if figure.table == table):
            word = {None: "", True: "kept", False: "**missed**"}[f.met]
            lines.append(
                f"| {f.case} | {f.what} | {f.value:.4g} | {f.low:.4g} to {f.high:.4g} "
                f"| {f.target} | {word} |"
            )
    (folder / "results.md").write_text("\n".join(lines) + "\n")
