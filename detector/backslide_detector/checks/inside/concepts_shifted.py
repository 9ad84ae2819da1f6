"""Concepts that form at another depth.

What it looks for:
    Whether the labels become linearly readable earlier or later in the network than in at
    least eight healthy runs: one shift for all labels together, with its interval.

Why it matters:
    When the first layers stop contributing, later ones take over their work. The error may
    stay the same, while the network has lost depth that it will want on harder examples.

What usually causes it:
    First layers that are frozen, passed over or dead, so that later ones do their work.

What to do:
    Look at the layers before the shift: are they frozen, passed over, dead?

When it is wrong:
    A single label's depth is far too noisy, so none is ever claimed. Readability shows what
    could be used, not what is. Networks of fewer than four probed layers, and ones whose first
    layer already shows everything, are not judged.

References:
    Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.
    Belinkov (2022), Probing classifiers.
"""

import math

from backslide_detector.checks.between import incomparable, too_few
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.inside.formation import formation_shift
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.spread import ENOUGH

_LEVEL = 0.001
_LEAST = 0.3
"""Layers: a smaller shift is not worth a word."""


def check(pair: Pair) -> Found | Clear | Skipped:
    """The pooled shift of the labels against healthy runs."""
    if reason := incomparable(pair):
        return reason
    if len(pair.references) < ENOUGH:
        return too_few(pair)
    shift = formation_shift(pair)
    if shift is None or shift.surprise is None or shift.interval is None:
        return Skipped("fewer than four comparable layers or five labels, or none that forms")
    if not math.isfinite(shift.layers):
        return Skipped("no label is readable in both runs")
    low, high = shift.interval
    text = f"{shift.layers:+.1f} layers, 95 % interval {low:+.1f} to {high:+.1f}"
    if shift.surprise.pvalue >= _LEVEL or abs(shift.layers) < _LEAST:
        return Clear()
    later = "later" if shift.layers > 0 else "earlier"
    return Found(
        Severity.NOTE,
        f"The {shift.concepts} labels together become readable {later} in the network than in "
        f"{shift.surprise.n} healthy runs ({text}).",
        "Look at the layers before: frozen, passed over or dead ones leave their work to "
        "later ones.",
        numbers={
            "layers": shift.layers,
            "low": low,
            "high": high,
            "concepts": float(shift.concepts),
        },
    )
