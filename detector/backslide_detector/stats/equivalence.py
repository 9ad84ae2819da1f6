"""Equivalence by interval inclusion: two one-sided tests at once."""

from backslide_detector.stats.comparison import require_share


def equivalence_level(alpha: float = 0.05) -> float:
    """Level of the interval whose inclusion in the margin is two one-sided tests at `alpha`.

    Raises:
        ValueError: `alpha` outside (0, 1).
    """
    require_share(alpha=alpha)
    return 1 - 2 * alpha


def inside(interval: tuple[float, float], margin: float) -> bool:
    """True when the whole interval lies strictly inside (-margin, margin).

    With the 90 % interval this is Schuirmann's two one-sided tests procedure at 5 %
    (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657-680).

    Raises:
        ValueError: a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be positive, not {margin}")
    return -margin < interval[0] and interval[1] < margin
