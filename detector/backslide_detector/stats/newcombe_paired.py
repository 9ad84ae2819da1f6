"""Newcombe's square-and-add interval for the difference of two paired proportions."""

import math

from statsmodels.stats.proportion import proportion_confint

from backslide_detector.stats.comparison import require_counts, require_share


def newcombe_paired_interval(
    both_wrong: int, broken: int, fixed: int, both_right: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the change of the error rate, from two Wilson intervals.

    Newcombe's method 10, with continuity-corrected correlation (Newcombe 1998, Statistics in
    Medicine 17:2635-2650). A second opinion beside Tango's interval.

    Args:
        both_wrong: examples wrong under both models.
        broken: wrong under the new model alone.
        fixed: wrong under the old model alone.
        both_right: examples right under both.
        level: coverage, in (0, 1).

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    n = both_wrong + broken + fixed + both_right
    require_counts(n, both_wrong=both_wrong, broken=broken, fixed=fixed, both_right=both_right)
    require_share(level=level)
    wrong_new, wrong_old = both_wrong + broken, both_wrong + fixed
    new, old = wrong_new / n, wrong_old / n
    low_new, high_new = proportion_confint(wrong_new, n, 1 - level, method="wilson")
    low_old, high_old = proportion_confint(wrong_old, n, 1 - level, method="wilson")

    scale = math.sqrt(wrong_new * (n - wrong_new)) * math.sqrt(wrong_old * (n - wrong_old))
    excess: float = both_wrong * both_right - broken * fixed
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / scale if scale else 0.0

    def half_width(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    effect = new - old
    low = effect - half_width(new - low_new, high_old - old)
    high = effect + half_width(high_new - new, old - low_old)
    return max(float(low), -1.0), min(float(high), 1.0)
