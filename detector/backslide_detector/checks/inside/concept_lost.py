"""Something that no layer shows as clearly as before.

What it looks for:
    A label, or a concept given to run.probe, that is far less readable than before at its best
    layer: outside the spread of at least eight healthy runs, or with fewer of them most of it
    gone.

Why it matters:
    A class that is missing from the training data, or shuffled in it, is no longer told apart
    inside. The overall error may hide it.

What usually causes it:
    Examples of the label that are missing from the training data, or labels that were
    shuffled.

What to do:
    Look at the class counts of the training data, at its labels, and at the examples of the
    class in the report.

When it is wrong:
    A rare class has few probe examples and a noisy readability. Readability shows what could
    be used, not what is.

References:
    Belinkov (2022), Probing classifiers, Computational Linguistics 48:207-219.
"""

from backslide_detector.checks.between import incomparable
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.inside.formation import Level, levels
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.spread import ENOUGH, surprising

_FAR = -4.0
_LEVEL = 0.002
_LOST = 0.3
"""Loss of R squared that is named while the spread of healthy runs is not known."""


def check(pair: Pair) -> Found | Clear | Skipped:
    """The best readability of each concept, before and now."""
    if reason := incomparable(pair):
        return reason
    known = levels(pair)
    if not known:
        return Skipped("the two probes share no labels and no concepts")
    if len(pair.references) >= ENOUGH:
        lost = surprising(known, level=_LEVEL, far=_FAR)
    else:
        lost = [each for each in known if each.before - each.now > _LOST]
    return _found(pair, lost, len(known)) if lost else Clear()


def _found(pair: Pair, lost: list[Level], judged: int) -> Found:
    worst = max(lost, key=lambda each: each.before - each.now)
    usual = (
        worst.surprise.usual
        if worst.surprise and len(pair.references) >= ENOUGH
        else f"in {pair.old.name} {worst.before:.2f}"
    )
    return Found(
        Severity.NOTE,
        f"No layer shows {worst.concept!r} as clearly as before: R² {worst.now:.2f} at the "
        f"best one, {usual} ({len(lost)} of {judged} labels and concepts).",
        "Look at how many training examples there are of it, and at their labels.",
        numbers={
            "r2": worst.now,
            "r2_before": worst.before,
            "concepts": float(len(lost)),
        },
    )
