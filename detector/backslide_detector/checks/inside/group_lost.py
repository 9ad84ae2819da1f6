"""A group of channels that its layer no longer carries.

What it looks for:
    Groups of channels that were active together in the predecessor (found by non-negative
    matrix factorisation, and again after a restart) and whose activity can no longer be read
    linearly from the same layer: far below what at least eight healthy runs show. With fewer
    of them only after a warm retrain, and only by a stated limit.

Why it matters:
    A pruned or dead group takes with it what it stood for, and the examples that needed it.

What usually causes it:
    Pruning, a layer that was reset, or units that died during the retrain.

What to do:
    Look at the group's examples in the report: they show what it answered to. Compare the
    layer's dead units and its gradients with those of the predecessor.

When it is wrong:
    Networks split the same work differently, so a group without a partner means nothing and is
    not looked for. Readability says what could be used, not what is. Earlier layers mostly
    still carry what a later one lost.

References:
    Olah et al. (2018), The building blocks of interpretability. Lee and Seung (1999), Learning
    the parts of objects by non-negative matrix factorization.
"""

from backslide_detector.checks.between import incomparable, too_few
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.inside.groups import CarriedGroup, carried_groups
from backslide_detector.inside.pair import Pair, Start
from backslide_detector.inside.spread import ENOUGH, surprising

_FAR = -4.0
_LEVEL = 0.002
_GONE_BY = 0.25
"""Loss of R squared below which "no longer carries" would say too much."""
_LOST = 0.15
"""Loss of R squared that is named without a spread, after a warm retrain."""
_GONE = 0.3
"""R squared below which a group cannot be read from any layer."""


def check(pair: Pair) -> Found | Clear | Skipped:
    """Readability of the predecessor's stable groups in the same layer."""
    if reason := incomparable(pair):
        return reason
    groups = [each for each in carried_groups(pair) if each.stable]
    if not groups:
        return Skipped("the predecessor has no stable groups in a layer that both runs have")
    if len(pair.references) >= ENOUGH:
        lost = [
            each
            for each in surprising(groups, level=_LEVEL, far=_FAR)
            if each.surprise and each.surprise.mean - each.now > _GONE_BY
        ]
    elif pair.start is Start.WARM:
        lost = [each for each in groups if each.before - each.now > _LOST]
    else:
        return too_few(pair)
    return _found(pair, lost, len(groups)) if lost else Clear()


def _found(pair: Pair, lost: list[CarriedGroup], judged: int) -> Found:
    first = lost[0].layer
    worst = max((g for g in lost if g.layer == first), key=lambda g: g.before - g.now)
    usual = (
        worst.surprise.usual
        if worst.surprise and worst.surprise.n + 1 >= ENOUGH
        else f"in {pair.old.name} {worst.before:.2f}"
    )
    nowhere = worst.elsewhere < _GONE
    where = " Nor can any other layer." if nowhere else " Another layer still carries it."
    return Found(
        Severity.NOTE,
        f"{first} no longer carries group {worst.group} of {pair.old.name}: its activity is "
        f"readable with R² {worst.now:.2f}, {usual} ({len(lost)} of {judged} groups).{where}",
        "Look at the group's examples in the report, and at this layer's dead units.",
        layer=first,
        numbers={
            "group": float(worst.group),
            "r2": worst.now,
            "r2_before": worst.before,
            "r2_any_layer": worst.elsewhere,
            "groups": float(len(lost)),
        },
    )
