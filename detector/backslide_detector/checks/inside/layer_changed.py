"""A layer that does something else than before.

What it looks for:
    A layer of the retrained network whose answers to the fixed probe examples are unlike those
    of its predecessor. After a warm retrain (one that started from the predecessor's weights):
    the earliest layer in which far fewer channels still do the same than usual. After any
    other start channels cannot be compared one by one; then a layer whose similarity,
    readability or spread lies outside that of at least eight healthy runs of this network.

Why it matters:
    A layer that was reset while loading, a slipped-in activation or another input shows here
    and says where to look, also when the error hardly moved.

What usually causes it:
    Weights that were not loaded into the layer, or another activation or input there.

What to do:
    After a warm retrain, look at how the weights are loaded: load_state_dict(strict=False)
    passes over names that do not match. Otherwise look at what changed in this layer.

When it is wrong:
    It says that a layer does something else, not that it is worse. A head that was reset
    disturbs the layer before it, so near the output the name may be one or two layers early.
    A long retrain moves every layer; without three earlier warm retrains the limit is a
    stated guess. Against healthy runs it misses most changes of half a layer or less, frozen
    layers and missing classes.

References:
    Kornblith et al. (2019), Similarity of neural network representations revisited. Davari et
    al. (2022), arXiv 2210.16156, on what such similarity cannot see. Klabunde et al. (2024),
    arXiv 2408.00531.
"""

from backslide_detector.checks.between import incomparable, too_few
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.inside.cold import (
    BETWEEN,
    DIRECTIONS,
    READABILITY,
    SIMILARITY,
    LayerSurprise,
    layer_surprises,
)
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.spread import ENOUGH
from backslide_detector.inside.warm import KeptUnits, kept_units
from backslide_detector.probe import Inside
from backslide_detector.stats.multiplicity import holm
from backslide_detector.wording import count

_BELOW_USUAL = 0.2
_RETRAINS = 3
_WITHOUT_HISTORY = 0.6
"""The share below which a layer is named when there are fewer earlier warm retrains."""
_OWN = 2 / 3
"""Of the largest loss of channels: from here on a layer's loss is its own."""
_FAR = 5.0
_LEVEL = 0.002
_LEAST = {SIMILARITY: 0.1, READABILITY: 0.1, BETWEEN: 0.1, DIRECTIONS: 0.5}
"""Differences from the healthy mean that are worth a word; of directions, relative."""


def check(pair: Pair) -> Found | Clear | Skipped:
    """Channels one by one after a warm start, otherwise against the spread of healthy runs."""
    if reason := incomparable(pair):
        return reason
    if pair.parent is not None and (kept := kept_units(pair)):
        return _warm(pair.parent, kept)
    if len(pair.references) < ENOUGH:
        return too_few(pair)
    return _cold(layer_surprises(pair))


def _warm(parent: Inside, kept: tuple[KeptUnits, ...]) -> Found | Clear:
    drops = [_limit(each) - each.share for each in kept]
    worst = max(drops)
    if worst <= 0:
        return Clear()
    # What comes before a reset layer moves too, since it gets other gradients, but keeps more.
    missing = [1.0 - each.share for each in kept]
    index = next(
        i for i in range(len(kept)) if drops[i] > 0 and missing[i] >= _OWN * max(missing)
    )
    found = kept[index]
    name = found.owner
    around = "Around" if index >= len(kept) - 2 else "In"
    usual = (
        f"usual are {found.usual:.0%} (mean of {found.retrains} warm retrains)"
        if found.usual is not None and found.retrains >= _RETRAINS
        else f"{_WITHOUT_HISTORY:.0%} is the limit until there are three earlier warm retrains"
    )
    earlier = min((each.share for each in kept[:index]), default=None)
    upstream = "" if earlier is None else f"; in the layers before it at least {earlier:.0%}"
    return Found(
        Severity.NOTE,
        f"{around} {name}, {found.share:.0%} of the channels still do what they did in "
        f"{parent.name}{upstream}; {usual}. Below their limit: "
        f"{sum(d > 0 for d in drops)} of {count(len(kept), 'layer')}.",
        "Look at how the weights of this layer are loaded; "
        "load_state_dict(strict=False) passes over names that do not match.",
        layer=name,
        numbers={
            "same_channels": found.share,
            "usual": float("nan") if found.usual is None else found.usual,
            "warm_retrains": float(found.retrains),
            "layers": float(sum(d > 0 for d in drops)),
        },
    )


def _limit(kept: KeptUnits) -> float:
    if kept.usual is None or kept.retrains < _RETRAINS:
        return _WITHOUT_HISTORY
    return kept.usual - _BELOW_USUAL


def _cold(found: tuple[LayerSurprise, ...]) -> Found | Clear | Skipped:
    if not found:
        return Skipped("no layer varies over the probe examples")
    adjusted = holm([each.surprise.pvalue for each in found])
    far = [
        each
        for each, pvalue in zip(found, adjusted, strict=True)
        if pvalue < _LEVEL and abs(each.surprise.z) > _FAR and _matters(each)
    ]
    if not far:
        return Clear()
    first = far[0].layer
    worst = max(
        (each for each in far if each.layer == first), key=lambda each: abs(each.surprise.z)
    )
    name = far[0].owner
    layers = len({each.layer for each in far})
    seen = worst.surprise
    return Found(
        Severity.NOTE,
        f"From {name} on the network represents the probe examples in another way: "
        f"{worst.measure} {seen.value:.3g}, in {seen.n} healthy runs {seen.mean:.3g} ± "
        f"{seen.sd:.2g} ({abs(seen.z):.1f} spreads away; outside: "
        f"{layers} of {count(len({each.layer for each in found}), 'layer')}).",
        "Compare what feeds this layer and what it is made of in the two runs: data, code and "
        "settings are listed under what changed.",
        layer=name,
        numbers={
            "value": seen.value,
            "healthy_mean": seen.mean,
            "healthy_spread": seen.sd,
            "spreads_away": seen.z,
            "layers": float(layers),
        },
    )


def _matters(found: LayerSurprise) -> bool:
    seen = found.surprise
    size = seen.mean if found.measure == DIRECTIONS else 1.0
    return abs(seen.value - seen.mean) > _LEAST[found.measure] * size
