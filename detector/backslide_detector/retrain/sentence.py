"""The verdict in words: percentage points or units of the loss, with what they rest on."""

import math

from backslide.contract import Measure
from backslide_detector.estimand import Estimand

LOSSES = {"loss": "mean loss", "mse": "mean squared error"}
"""What the measures other than the error are called."""


def decimals(width: float, measure: Measure = "error") -> int:
    """Decimals of a number, in points or in units of the loss, that is known to `width`."""
    if measure == "error":
        width, least, most = 100 * width, 2, 4
    else:
        least, most = 0, 8
    if not (math.isfinite(width) and width > 0):
        return 2
    return min(max(math.ceil(1 - math.log10(width)), least), most)


def rate(value: float, measure: Measure = "error", places: int = 2) -> str:
    """`3.50 %`, or `0.1234` of a loss."""
    if measure == "error":
        return f"{100 * value:.{places}f} %"
    return f"{value:,.{places}f}"


def size(value: float, measure: Measure = "error", places: int = 2) -> str:
    """`0.50 points`, or `0.0123` of a loss; without its sign."""
    if measure == "error":
        return f"{abs(100 * value):.{places}f} points"
    return f"{abs(value):,.{places}f}"


def more_or_fewer(effect: float, places: int = 2) -> str:
    """`0.50 points fewer errors`, `as many errors`."""
    written = f"{abs(100 * effect):.{places}f}"
    if float(written) == 0.0:
        if effect == 0:
            return "as many errors"
        return f"about as many errors (within {written} points)"
    return f"{written} points {'fewer' if effect < 0 else 'more'} errors"


def interval_words(
    interval: tuple[float, float], places: int = 2, measure: Measure = "error"
) -> str:
    """`0.84 to 0.16 fewer`, `0.84 fewer to 0.16 more`; of a loss `lower` and `higher`."""
    low, high = interval
    down, up = ("fewer", "more") if measure == "error" else ("lower", "higher")
    first, last = (size(end, measure, places).removesuffix(" points") for end in interval)
    if high <= 0:
        return f"{first} to {last} {down}"
    if low >= 0:
        return f"{first} to {last} {up}"
    return f"{first} {down} to {last} {up}"


def difference(
    model: Estimand, new: float, old: float, *, sizes: str, measure: Measure = "error"
) -> str:
    """The whole comparison of two models, without a verdict.

    Args:
        model: answered by effect and interval.
        new: error or loss of the new model.
        old: the same of the old model.
        sizes: what to say of the number of examples.
        measure: what the two are.
    """
    if model.effect is None or model.interval is None:
        return versus(new, old, measure)
    places = decimals(model.interval[1] - model.interval[0], measure)
    if measure == "error":
        said = f"this model makes {more_or_fewer(model.effect, places)}"
    else:
        way = "lower" if model.effect < 0 else "higher"
        by = size(model.effect, measure, places)
        same = "the same" if model.effect == 0 else f"{by} {way}"
        said = f"this model's {LOSSES[measure]} is {same}"
    both = f"{rate(new, measure, places)} instead of {rate(old, measure, places)}"
    words = interval_words(model.interval, places, measure)
    return f"{said} ({both}; 95 % interval {words}; {sizes})"


def versus(new: float, old: float, measure: Measure = "error") -> str:
    """`3.00 % errors instead of 3.50 %`; `a mean loss of 0.12 instead of 0.13`."""
    if measure == "error":
        return f"{rate(new)} errors instead of {rate(old)}"
    return f"a {LOSSES[measure]} of {new:.4g} instead of {old:.4g}"
