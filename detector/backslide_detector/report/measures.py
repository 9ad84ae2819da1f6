"""Every metric of two models as rows of text, for the page and the terminal alike."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backslide_detector.judgement import Judgement, MetricChange
from backslide_detector.report import phrases

SHOWN_BELOW: Final = 0.05
"""Holm-adjusted p-value from which a difference counts as shown."""

_NAMES: Final = {
    "f1_macro": "macro F1",
    "calibration_error": "calibration error",
    "confidence": "mean confidence",
    "auc": "area under ROC curve",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "explained variance (R²)",
    "bias": "mean of prediction − target",
    "loss": "mean loss",
}
_SHARES: Final = {"error", "f1_macro", "calibration_error", "confidence", "auc"}


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One metric in words.

    Attributes:
        better: "lower", "higher" or "neither".
        shown: "better", "worse" or "changed" where that was shown, else "no".
        interval: of the difference in its unit, or why there is none.
    """

    name: str
    better: str
    shown: str
    old: str
    new: str
    difference: str
    interval: str
    pvalue: str
    n: str
    method: str


def measure_rows(judgement: Judgement, *roles: str) -> list[MeasureRow]:
    """The metrics of these roles, as they are ordered in the verdict."""
    retrain = judgement.retrain
    chosen = [row for row in retrain.metrics if row.role in roles]
    of_shares = retrain.measure == "error"
    return [_row(row, share=_is_share(row, of_shares=of_shares)) for row in chosen]


def methods(rows: Sequence[MeasureRow]) -> str:
    """How the rows with intervals were measured: each method once, with its metrics."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row.method].append(row.name)
    return "; ".join(f"{', '.join(names)}: {method}" for method, names in found.items())


def _is_share(row: MetricChange, *, of_shares: bool) -> bool:
    if row.role == "logged":
        return False
    if row.role in {"gate", "slice", "discovered"}:
        return of_shares
    return row.role == "class" or (row.name in _SHARES and _possible(row))


def _possible(row: MetricChange) -> bool:
    """Confidence may have been logged as any score."""
    return all(value is None or 0 <= value <= 1 for value in (row.old, row.new))


def _row(row: MetricChange, *, share: bool) -> MeasureRow:
    def level(value: float | None) -> str:
        if value is None:
            return "–"
        return phrases.fine(value) if share else phrases.number(value)

    half = ", held half" if row.role == "discovered" else ""
    interval = _why(row)
    if row.interval is not None:
        interval = " to ".join(phrases.signed(end, _places(row, share=share), share=share)
                               for end in row.interval)  # fmt: skip
    difference = "–"
    if row.effect is not None:
        difference = phrases.signed(row.effect, _places(row, share=share), share=share)
    return MeasureRow(
        name=_NAMES.get(row.name, row.name) + half,
        better=row.better or "neither",
        shown=_shown(row),
        old=level(row.old),
        new=level(row.new),
        difference=f"{difference} points" if share and row.effect is not None else difference,
        interval=interval,
        pvalue="–" if row.pvalue is None else phrases.pvalue(row.pvalue).removeprefix("p = "),
        n=f"{row.n:,}" if row.n else "–",
        method=phrases.plain(row.method),
    )


def _places(row: MetricChange, *, share: bool) -> int | None:
    """Digits behind the point: two of shares, of other numbers three that mean something."""
    ends = [abs(end) for end in (row.effect, *(row.interval or ())) if end is not None]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)
    if share:
        return 2
    if not 1e-6 <= largest < 1e6:
        return None
    return max(0, 2 - math.floor(math.log10(largest)))


def _why(row: MetricChange) -> str:
    return phrases.plain(row.method) or "no interval"


def _shown(row: MetricChange) -> str:
    """What the interval and the adjusted p-value together show."""
    if row.interval is None or row.effect is None:
        return "cannot tell"
    low, high = row.interval
    if row.pvalue is None or row.pvalue >= SHOWN_BELOW or low <= 0 <= high:
        return "no"
    match row.better:
        case "lower":
            return "worse" if row.effect > 0 else "better"
        case "higher":
            return "better" if row.effect > 0 else "worse"
        case _:
            return "changed"
