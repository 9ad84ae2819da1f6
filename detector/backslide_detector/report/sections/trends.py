"""Which way the layers go: sizes of gradients and activations over the run and across depth."""

from dataclasses import dataclass

import numpy as np

from backslide_detector import names
from backslide_detector.evidence import Floats, Ints, LayerHistory, RunEvidence, Series
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import magnitude, pvalue
from backslide_detector.report.pictures.sparklines import Spark, sparklines
from backslide_detector.report.section import Absent, Block, Figure, Section, Table
from backslide_detector.report.sections.tensors import (
    UNMEASURED,
    Tensor,
    every_tensor,
    flags,
    spread,
)
from backslide_detector.stats.mann_kendall import Answer, Trend, depth_slope, layer_trends
from backslide_detector.wording import count

TITLE = "Trends of the layers"
TESTED = 300
"""Layers tested at most: a second of work."""
DRAWN = 15
_LEVEL = 0.05
_ORDER = (Answer.TREND, Answer.CONFOUNDED, Answer.NONE, Answer.TOO_SHORT)


@dataclass(frozen=True, slots=True)
class Course:
    """One layer's size over the run, in decades, and its trend."""

    tensor: Tensor
    name: str
    sizes: Floats
    trend: Trend


def trends(
    judgement: Judgement, new: RunEvidence, _old: RunEvidence | None
) -> Section | Absent:
    """Layers whose gradients or activations grow or fade, those that change most on top."""
    roles = (("gradients", new.gradients), ("activations", new.activations))
    rate = names.learning_rate(new.series)
    blocks: list[Block] = []
    tables: list[Table] = []
    said: list[str] = []
    for what, history in roles:
        courses = [] if history is None else _courses(history, judgement, rate)
        if history is None or not courses:
            continue
        said.append(_counted(what, courses))
        blocks.append(_picture(what, courses, history))
        tables.append(_table(what, courses, history))
        tables += _depth_table(what, courses, history)
    if not blocks:
        return Absent(TITLE, UNMEASURED.format("gradients or activations"))
    lead = (
        f"{' '.join(said)} A trend alone is no fault: gradients fade while a network learns, "
        "and activations grow. Look for a layer that goes another way than the others."
        f"{_rate_said(rate)}"
    )
    return Section("trends", TITLE, lead, tuple(blocks), tuple(tables))


def _courses(history: LayerHistory, judgement: Judgement, rate: Series | None) -> list[Course]:
    """All layers with their trends, the largest change on top."""
    if not history.rms.size:
        return []
    chosen = spread(every_tensor(history, flags(judgement)), TESTED)
    sizes = _decades(history.rms[:, [t.index for t in chosen]])
    seen = np.flatnonzero(np.isfinite(sizes).any(axis=0))
    chosen, sizes = [chosen[i] for i in seen], sizes[:, seen]
    pace = None if rate is None else _decades(rate.at(history.steps))
    found = layer_trends(history.steps, sizes, pace, level=_LEVEL)
    courses = [
        Course(tensor, history.layers[tensor.index], column, trend)
        for tensor, column, trend in zip(chosen, sizes.T, found, strict=True)
    ]
    return sorted(courses, key=lambda c: (_ORDER.index(c.trend.answer), -abs(c.trend.slope)))


def _decades(values: Floats) -> Floats:
    """log10; NaN where a value has none."""
    known = np.isfinite(values) & (values > 0.0)
    return np.log10(np.where(known, values, np.nan))


def _counted(what: str, courses: list[Course]) -> str:
    """How many layers go which way, in a sentence."""
    told = [c.trend for c in courses if c.trend.answer is not Answer.TOO_SHORT]
    if not told:
        return f"The run is too short to tell trends of its {what}."
    going = [trend for trend in told if trend.answer is Answer.TREND]
    down = sum(trend.slope < 0.0 for trend in going)
    counts = (
        (down, "fade"),
        (len(going) - down, "grow"),
        (sum(t.answer is Answer.CONFOUNDED for t in told), "may only follow the learning rate"),
    )
    ways = [f"{number} {way}" for number, way in counts if number] or ["none has a trend"]
    short, layers = len(courses) - len(told), count(len(told), "layer")
    more = f" ({short} more wander too slowly for a run of this length)" if short else ""
    return f"The {what} of {layers}: {', '.join(ways)}{more}."


def _rate_said(rate: Series | None) -> str:
    if rate is None:
        return " No learning rate was logged, so what follows it counts as a trend here."
    if not np.ptp(rate.values) > 0.0:
        return ""
    return " What follows the logarithm of the learning rate was taken out."


def _picture(what: str, courses: list[Course], history: LayerHistory) -> Block:
    shown = [
        Spark(
            c.tensor.module,
            c.sizes,
            _short(c.trend, _unit(history.steps)),
            c.trend.began,
            flagged=c.tensor.flag is not None,
        )
        for c in courses[:DRAWN]
    ]
    title = f"Sizes of the {what}"
    title += f", {DRAWN} of {len(courses)} layers" if len(courses) > DRAWN else ""
    legend = [("median", "root mean square, each around its own median")]
    if any(spark.since is not None for spark in shown):
        legend.append(("mde", "where the trend began"))
    picture = sparklines(f"{title} over training", shown, history.steps)
    return Block("wide", (Figure(picture),), title, tuple(legend))


def _short(trend: Trend, unit: int) -> str:
    """The trend in a few letters."""
    match trend.answer:
        case Answer.TREND:
            return f"{factor(trend.slope * unit)} a {unit:,} steps"
        case Answer.CONFOUNDED:
            return "learning rate?"
        case Answer.NONE:
            return "no trend"
        case Answer.TOO_SHORT:
            return "too short"


def _table(what: str, courses: list[Course], history: LayerHistory) -> Table:
    unit = _unit(history.steps)
    rows = tuple(
        (c.name, c.tensor.kind or "–", _long(c.trend), _ends(c.sizes, history.steps),
         *_numbers(c.trend, unit))
        for c in courses
    )  # fmt: skip
    head = ("tensor", "kind", "trend", "first → last tenth", f"a {unit:,} steps",
            "95 % interval", "since step", "p, adjusted")  # fmt: skip
    title = f"Trends of the {what} (Mann-Kendall on block means, Benjamini-Hochberg)"
    return Table(title, head, rows, words=3)


def _long(trend: Trend) -> str:
    going = "falls" if trend.slope < 0.0 else "rises"
    match trend.answer:
        case Answer.TREND:
            return f"{going} beyond the learning rate" if trend.adjusted else going
        case Answer.CONFOUNDED:
            return f"{going}, confounded with the learning rate"
        case Answer.NONE:
            return "none beyond the learning rate" if trend.adjusted else "none"
        case Answer.TOO_SHORT:
            return "too short to tell"


def _unit(steps: Ints) -> int:
    """Steps that slopes are given for: a thousand, fewer where the run has fewer."""
    span = max(int(steps[-1] - steps[0]), 1)
    return int(min(1_000, 10 ** (len(str(span)) - 1)))


def _ends(sizes: Floats, steps: Ints) -> str:
    """Median sizes in the first and in the last tenth of the steps, as measured."""
    done = (steps - steps[0]) / max(float(steps[-1] - steps[0]), 1.0)
    parts = (
        sizes[(done <= 0.1) & np.isfinite(sizes)],
        sizes[(done >= 0.9) & np.isfinite(sizes)],
    )
    first, last = (magnitude(10 ** float(np.median(p))) if len(p) else "–" for p in parts)
    return f"{first} → {last}"


def _numbers(trend: Trend, unit: int) -> tuple[str, str, str, str]:
    if trend.answer is Answer.TOO_SHORT:
        return ("–",) * 4
    low, high = trend.interval
    return (
        factor(trend.slope * unit),
        f"{factor(low * unit)} to {factor(high * unit)}",
        "–" if trend.began is None else f"{trend.began:,.0f}",
        pvalue(trend.pvalue).removeprefix("p ").removeprefix("= "),
    )


def _depth_table(what: str, courses: list[Course], history: LayerHistory) -> list[Table]:
    """Slopes over the depth within each kind of layer that has enough of them."""
    rows = []
    for kind in sorted({c.tensor.kind for c in courses if c.tensor.kind}):
        same = [c for c in courses if c.tensor.kind == kind]
        depths = [float(history.depth[c.tensor.index]) for c in same]
        found = depth_slope(depths, [float(10 ** np.nanmedian(c.sizes)) for c in same])
        if found.answer is Answer.TOO_SHORT:
            continue
        bounds = " to ".join(factor(bound) for bound in found.interval)
        chance = pvalue(found.pvalue).removeprefix("p ").removeprefix("= ")
        rows.append((kind, f"{found.blocks}", factor(found.slope), bounds, chance))
    head = ("kind", "layers", "from one layer to the next", "95 % interval", "p")
    return [Table(f"The {what} across depth (Theil-Sen)", head, tuple(rows))] if rows else []


def factor(decades: float) -> str:
    """`×0.32`: by what a size is multiplied."""
    times = 10.0 ** min(max(decades, -300.0), 300.0)
    return f"×{times:.2f}" if 0.1 <= times < 10.0 else f"×{magnitude(times)}"
