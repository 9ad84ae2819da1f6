"""Numbers and names as people read them: units, signs, few digits."""

import math
import re
import unicodedata
from collections.abc import Mapping

from backslide.contract import Cause, Measure, Verdict
from backslide_detector.estimand import Estimand

CONFIDENCE = "95 %"

INFINITE = 1e300
"""From here on a number stands for infinity: MLflow stores it as 1.8e308."""

VERDICTS = {
    Verdict.IMPROVED: "Improved",
    Verdict.REGRESSED: "Regressed",
    Verdict.EQUIVALENT: "Equivalent",
    Verdict.INCONCLUSIVE: "Inconclusive",
    Verdict.FIRST: "First of its lineage",
    Verdict.NONE: "No verdict",
}

CAUSES = {
    Cause.DATA: "data",
    Cause.CONFIG: "settings",
    Cause.CODE: "code",
    Cause.ENVIRONMENT: "environment",
    Cause.NOISE: "seed noise",
    Cause.UNKNOWN: "unknown",
}

KINDS = {**CAUSES, Cause.NOISE: "seed"}
"""What differs between two runs; there `noise` is the seed itself."""

MEASURES: Mapping[Measure, str] = {
    "error": "error",
    "loss": "mean loss",
    "mse": "mean squared error",
}

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DIGEST = re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{16,}\b")
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def power(exponent: float) -> str:
    """`10⁻³`; with one digit behind the point where the exponent is not whole."""
    text = f"{exponent:.0f}" if exponent == round(exponent) else f"{exponent:.1f}"
    return "10" + text.translate(_SUPERSCRIPT).replace(".", "·")


def plain(text: object) -> str:
    """One line without control, direction-changing or other invisible characters."""
    shown = (" " if unicodedata.category(c) in _HIDDEN else c for c in str(text))
    return " ".join("".join(shown).split())


def brief(value: object) -> str:
    """A value with its digests cut to what tells them apart; files hold them whole."""
    return _DIGEST.sub(lambda found: f"{found[0][:8]}…", plain(value))


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words where that loses little."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    word = head.rpartition(" ")[0]
    return (word if len(word) > limit // 2 else head).rstrip(" ,;:") + "…"


def percent(fraction: float | None) -> str:
    """A share as `3.0 %` or `3.02 %`, with two significant digits below 1 %."""
    if fraction is None or not math.isfinite(fraction):
        return "unknown"
    return f"{_digits(fraction * 100)} %"


def points(fraction: float | None, *, signed: bool = True) -> str:
    """A difference of shares as `+1.2 points`: percentage points, not percent of percent."""
    if fraction is None or not math.isfinite(fraction):
        return "unknown"
    return f"{_signed(fraction * 100) if signed else _digits(abs(fraction) * 100)} points"


def between(low: float, high: float) -> str:
    """An interval of differences as `−0.3 to +1.4 points`, both ends with the same digits."""
    decimals = _decimals(max(abs(low), abs(high)) * 100)
    return f"{_signed(low * 100, decimals)} to {_signed(high * 100, decimals)} points"


def level(value: float | None, measure: Measure = "error") -> str:
    """An error as `3.0 %`, a mean loss as `0.123`."""
    return percent(value) if measure == "error" else number(value)


def fine(value: float, measure: Measure = "error") -> str:
    """The same with the digits in which retrains differ: `3.02 %`, `0.1234`."""
    return f"{100 * value:.2f} %" if measure == "error" else f"{value:.4g}"


def change(value: float | None, measure: Measure = "error", *, signed: bool = True) -> str:
    """A difference of errors as `+1.2 points`, of losses as `+0.0123`."""
    if measure == "error":
        return points(value, signed=signed)
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{'+' if signed and value > 0 else ''}{number(value if signed else abs(value))}"


def signed(value: float, places: int | None, *, share: bool = False) -> str:
    """A difference with its sign: `+0.50` points of shares, `−0.0123` of any other number.

    Args:
        value: the difference, of shares as a fraction.
        places: digits behind the point; None where the number is too large or small for them.
        share: whether it is one of shares.
    """
    if places is None:
        return f"{'+' if value > 0 else ''}{number(value)}"
    rounded = round(100 * value if share else value, places)
    return f"{rounded:+.{places}f}".replace("-", "−") if rounded else f"{0:.{places}f}"


def range_of(interval: tuple[float, float], measure: Measure = "error") -> str:
    """An interval of differences."""
    if measure == "error":
        return between(*interval)
    return " to ".join(change(bound, measure) for bound in interval)


def number(value: float | None) -> str:
    """Any number with three significant digits; `NaN`, `infinite` and `unknown` in words."""
    if value is None or math.isnan(value):
        return "NaN" if value is not None else "unknown"
    if abs(value) >= INFINITE:
        return "infinite" if value > 0 else "−infinite"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    return _scientific(value, 3)


def magnitude(value: float | None) -> str:
    """A number known to about two digits as `3.2×10⁻⁵`, plain between 0.001 and 1000."""
    if value is None or not math.isfinite(value) or value == 0:
        return number(value)
    return _scientific(value, 2)


def pvalue(value: float | None) -> str:
    """A p-value as `p = 0.03` or `p < 0.0001`."""
    if value is None or not math.isfinite(value):
        return "p unknown"
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def estimate(estimand: Estimand, measure: Measure = "error") -> str:
    """An answer to one of the two questions in one line, or why there is none."""
    if estimand.effect is None:
        return plain(estimand.reason or "not estimated")
    parts = [change(estimand.effect, measure)]
    if estimand.interval is not None:
        parts.append(f"{CONFIDENCE} interval {range_of(estimand.interval, measure)}")
    if estimand.pvalue is not None:
        parts.append(pvalue(estimand.pvalue))
    if estimand.n:
        parts.append(f"n = {estimand.n:,}")
    if estimand.method:
        parts.append(plain(estimand.method))
    if estimand.fixed is not None and estimand.broken is not None:
        parts.append(f"{estimand.fixed:,} fixed, {estimand.broken:,} newly wrong")
    if estimand.reason:
        parts.append(plain(estimand.reason))
    return "; ".join(parts)


def _decimals(size: float) -> int:
    """Digits behind the point: one from 10 upwards, two below, or two significant ones."""
    if not math.isfinite(size) or size == 0 or size >= 9.95:
        return 1
    return min(6, max(2, 1 - math.floor(math.log10(size))))


def _scientific(value: float, digits: int) -> str:
    size = abs(value)
    if 1e-3 <= size < 1e4:
        whole = f"{value:.0f}" if size >= 10**digits else f"{value:.{digits}g}"
        return whole.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×{power(int(exponent))}".replace("-", "−")


def _digits(value: float, decimals: int | None = None) -> str:
    text = f"{value:.{_decimals(abs(value)) if decimals is None else decimals}f}"
    while decimals is None and text.endswith("0") and not text.endswith(".0"):
        text = text[:-1]
    return text.replace("-", "−")


def _signed(value: float, decimals: int | None = None) -> str:
    text = _digits(value, decimals)
    return text if value <= 0 else f"+{text}"
