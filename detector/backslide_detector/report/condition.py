"""How each module of a network does: the worst of what was measured of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backslide_detector.evidence import Floats, LayerHistory, RunEvidence
from backslide_detector.inside.cold import layer_surprises
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.spread import ENOUGH
from backslide_detector.inside.warm import kept_units

Tone = Literal["good", "warn", "bad"]

_RECENT = 0.25
_LIMITS = {
    "dead": (0.25, 0.5),
    "saturated": (0.25, 0.5),
    "gradient": (2.0, 3.0),
    "other channels": (0.2, 0.5),
    "spreads": (3.0, 5.0),
}
"""From where on a figure is amber, and from where on red. Gradients in decades from the median
layer; the share of channels that no longer do the same; distances in healthy spreads."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured of one module; `short` is how the box says it."""

    kind: str
    value: float
    short: str

    @property
    def tone(self) -> Tone:
        """By the limits of its kind."""
        amber, red = _LIMITS[self.kind]
        return "bad" if self.value >= red else "warn" if self.value >= amber else "good"

    @property
    def badness(self) -> float:
        """On one scale for all kinds: 1 is red."""
        return self.value / _LIMITS[self.kind][1]


def conditions(run: RunEvidence, pair: Pair | None) -> Mapping[str, tuple[Figure, ...]]:
    """Module name -> its figures, the worst first.

    Args:
        run: the judged run.
        pair: the run beside its predecessor, for what changed.
    """
    found: dict[str, list[Figure]] = defaultdict(list)
    if run.activations is not None:
        for name, figure in _units(run.activations):
            found[name].append(figure)
    if run.gradients is not None:
        for name, figure in _gradients(run.gradients):
            found[name].append(figure)
    if pair is not None and not pair.incomparable:
        for name, figure in _changes(pair):
            found[name].append(figure)
    return {
        name: tuple(sorted(figures, key=lambda figure: -figure.badness))
        for name, figures in found.items()
    }


def _units(history: LayerHistory) -> Iterable[tuple[str, Figure]]:
    for values, kind in (
        (history.dead_fraction, "dead"),
        (history.saturated_fraction, "saturated"),
    ):
        for name, share in zip(history.layers, _recent(values), strict=True):
            if np.isfinite(share):
                yield name, Figure(kind, float(share), f"{share:.0%} {kind}")


def _gradients(history: LayerHistory) -> Iterable[tuple[str, Figure]]:
    """Decades between a module's gradient and that of the median module, its largest tensor."""
    largest: dict[str, int] = {}
    for index in range(len(history.layers)):
        module = history.module(index)
        if history.count[index] > history.count[largest.get(module, index)] - 1:
            largest[module] = index
    early = history.rms[: max(3, len(history.rms) // 4)]
    middle = _middle(early)
    sizes = {name: float(middle[i]) for name, i in largest.items()}
    known = [size for size in sizes.values() if size > 0]
    if len(known) < 3:
        return
    usual = float(np.median(known))
    for name, size in sizes.items():
        if size > 0:
            decades = float(np.log10(size / usual))
            yield name, Figure("gradient", abs(decades), f"gradient 10^{decades:+.0f}")
        elif size == 0:
            yield name, Figure("gradient", _LIMITS["gradient"][1], "no gradient")


def _changes(pair: Pair) -> Iterable[tuple[str, Figure]]:
    if pair.parent is not None:
        for each in kept_units(pair):
            text = f"{each.share:.0%} same"
            for name in {each.layer, each.owner}:
                yield name, Figure("other channels", 1 - each.share, text)
    elif len(pair.references) >= ENOUGH:
        for found in layer_surprises(pair):
            away = abs(found.surprise.z)
            text = f"{away:.1f} spreads off"
            for name in {found.layer, found.owner}:
                yield name, Figure("spreads", away, text)


def _recent(values: Floats) -> Floats:
    return _middle(values[-max(3, int(len(values) * _RECENT)) :])


def _middle(values: Floats) -> Floats:
    """Median over the snapshots, shape (s, ...), without the gaps; NaN where all are gaps."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # gaps come last
    known = np.isfinite(values).sum(axis=0)
    middle = np.stack(
        [
            np.take_along_axis(ordered, np.maximum(at, 0)[None], axis=0)[0]
            for at in ((known - 1) // 2, known // 2)
        ]
    ).mean(axis=0)
    return np.where(known > 0, middle, np.nan)
