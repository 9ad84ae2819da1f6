"""The verdict in words: percentage points, with the numbers it rests on."""

import math

from backslide_detector.judgement import Estimand


def decimals(width: float) -> int:
    """Decimals of a number in points that is known to within `width`, as a fraction."""
    points = 100 * width
    if not (math.isfinite(points) and points > 0):
        return 2
    return min(max(math.ceil(1 - math.log10(points)), 2), 4)


def more_or_fewer(effect: float, places: int = 2) -> str:
    """`0.50 points fewer errors`, `as many errors`."""
    size = f"{abs(100 * effect):.{places}f}"
    if float(size) == 0.0:
        return (
            "as many errors" if effect == 0 else f"about as many errors (within {size} points)"
        )
    return f"{size} points {'fewer' if effect < 0 else 'more'} errors"


def interval_words(interval: tuple[float, float], places: int = 2) -> str:
    """`0.84 to 0.16 fewer`, `0.84 fewer to 0.16 more`."""
    low, high = interval
    first, last = (f"{abs(100 * end):.{places}f}" for end in interval)
    if high <= 0:
        return f"{first} to {last} fewer"
    if low >= 0:
        return f"{first} to {last} more"
    return f"{first} fewer to {last} more"


def difference(model: Estimand, new_error: float, old_error: float, *, sizes: str) -> str:
    """The whole comparison of two models, without a verdict.

    Args:
        model: answered by effect and interval.
        new_error: rate of the new model.
        old_error: rate of the old model.
        sizes: what to say of the number of examples.
    """
    if model.effect is None or model.interval is None:
        return f"{100 * new_error:.2f} % errors instead of {100 * old_error:.2f} %"
    places = decimals(model.interval[1] - model.interval[0])
    rates = f"{100 * new_error:.{places}f} % instead of {100 * old_error:.{places}f} %"
    return (
        f"this model makes {more_or_fewer(model.effect, places)} ({rates}; "
        f"95 % interval {interval_words(model.interval, places)}; {sizes})"
    )


def count(number: int, noun: str) -> str:
    """`1 example`, `10,000 examples`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
