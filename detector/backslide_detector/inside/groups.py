"""Whether a layer still carries the groups of channels that its predecessor had."""

from dataclasses import dataclass

import numpy as np

from backslide_detector.inside.pair import Pair
from backslide_detector.inside.readability import readability
from backslide_detector.inside.spread import Surprise, surprise
from backslide_detector.probe import Probe

STABLE = 0.8
"""Restart stability below which a group is an accident of the factorisation."""
LEAST_SPREAD = 0.03


@dataclass(frozen=True, slots=True)
class CarriedGroup:
    """One group of the predecessor in the same layer of the new run.

    Attributes:
        group: its number in the predecessor.
        share: of what the layer's groups explain.
        stable: it comes out of a restart again; the others are shown and not judged.
        before, now: R squared of reading its activity from the layer, old and new.
        elsewhere: the best over all layers of the new run.
        surprise: against healthy runs; None with fewer than two.
    """

    layer: str
    group: int
    share: float
    stable: bool
    before: float
    now: float
    elsewhere: float
    surprise: Surprise | None


def carried_groups(pair: Pair) -> tuple[CarriedGroup, ...]:
    """Every group of the predecessor in the layers that both runs have.

    Two factorisations split the same activity differently, so a group without a partner says
    nothing. One whose activity can no longer be read from the layer is gone from it.
    """
    new, old = pair.probes
    others = [probe for probe in pair.references if probe is not old]
    found = []
    for layer, there in pair.common:
        groups = old.groups.get(layer.name)
        if groups is None:
            continue
        activity = groups.activity.astype(np.float64)
        before, now = readability(there.code, activity), readability(layer.code, activity)
        elsewhere = np.max([readability(each.code, activity) for each in new.layers], axis=0)
        healthy = np.array([_in_layer(probe, layer.name, activity) for probe in others])
        for number in range(len(activity)):
            if not np.isfinite([before[number], now[number]]).all():
                continue
            spread = healthy[:, number] if len(healthy) else np.zeros(0)
            found.append(
                CarriedGroup(
                    layer=layer.name,
                    group=number,
                    share=float(groups.share[number]),
                    stable=bool(groups.stability[number] >= STABLE),
                    before=float(before[number]),
                    now=float(now[number]),
                    elsewhere=float(elsewhere[number]),
                    surprise=surprise(float(now[number]), spread, LEAST_SPREAD),
                )
            )
    return tuple(found)


def _in_layer(probe: Probe, name: str, activity: np.ndarray) -> np.ndarray:
    layer = probe.layer(name)
    if layer is None:
        return np.full(len(activity), np.nan)
    return readability(layer.code, activity)
