"""At which depth concepts become readable, and whether they do so earlier or later."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from backslide_detector.inside.pair import Pair, label_rows
from backslide_detector.inside.readability import readability
from backslide_detector.inside.spread import Surprise, surprise
from backslide_detector.probe import Numbers, Probe

LEAST_RISE = 0.1
"""Rise of readability from its lowest to its highest, below which there is no depth to name."""
REACH = 4.0
STEP = 0.05
LEAST_SPREAD = 0.1
"""Of shifts between healthy runs, in layers."""
LEAST_SPREAD_OF_LEVEL = 0.03


@dataclass(frozen=True, slots=True)
class Shift:
    """By how many layers concepts form later than before, over all of them.

    Attributes:
        layers: positive is later.
        interval: 95 %, from the spread of healthy runs; None with fewer than two of them.
        concepts: how many were pooled.
        surprise: against healthy runs.
    """

    layers: float
    interval: tuple[float, float] | None
    concepts: int
    surprise: Surprise | None


@dataclass(frozen=True, slots=True)
class Level:
    """The best readability of one concept over all layers, before and now."""

    concept: str
    before: float
    now: float
    surprise: Surprise | None


def curves(probe: Probe, rows: Numbers) -> Numbers:
    """Readability by depth, shape (layers, concepts).

    Args:
        probe: of a run.
        rows: the concepts, shape (c, n).
    """
    return np.array([readability(layer.code, rows) for layer in probe.layers])


def formed_at(curve: Numbers) -> int | None:
    """First layer that reaches half of the rise of a curve; None without a rise.

    Args:
        curve: readability by depth, shape (l,), of one concept or the mean of several.
    """
    known = np.clip(np.nan_to_num(curve), 0.0, None)
    if np.ptp(known) < LEAST_RISE:
        return None
    half = (known.max() + known.min()) / 2
    return int(np.argmax(known >= half))


def formation_shift(pair: Pair) -> Shift | None:
    """The pooled shift against healthy runs, or against the predecessor without any.

    Each concept's curve is divided by its own maximum, so that a concept that is read less
    well everywhere is not taken for one that forms later.

    Returns:
        None for other layers, fewer than four of them or five concepts, or flat curves.
    """
    new, old = pair.probes
    rows = label_rows(new)
    if len(new.layers) < 4 or len(rows) < 5 or len(new.layers) != len(old.layers):
        return None
    mine = _normalised(curves(new, rows))
    healthy = [_normalised(curves(probe, rows)) for probe in pair.references]
    usual = np.mean(healthy, axis=0) if healthy else _normalised(curves(old, rows))
    readable = np.isfinite(usual).all(axis=0) & np.isfinite(mine).all(axis=0)
    if not readable.any() or np.ptp(usual[:, readable].mean(axis=1)) < LEAST_RISE:
        return None
    shift = _shift(mine, usual)
    if len(healthy) < 3:
        return Shift(shift, None, int(readable.sum()), None)
    among = np.array(
        [
            _shift(each, np.mean(healthy[:i] + healthy[i + 1 :], axis=0))
            for i, each in enumerate(healthy)
        ]
    )
    found = surprise(shift, among, LEAST_SPREAD, both=True)
    return Shift(shift, None if found is None else _interval(found), int(readable.sum()), found)


def levels(pair: Pair) -> tuple[Level, ...]:
    """Every concept that both runs were asked about, at its best layer."""
    new, old = pair.probes
    known = {concept.name for concept in old.concepts}
    asked = [c for c in new.concepts if c.name in known and np.ptp(c.values) > 0]
    if not asked:
        return ()
    rows = np.array([concept.values for concept in asked])
    now, before = _best(new, rows), _best(old, rows)
    others = [probe for probe in pair.references if probe is not old]
    healthy = np.array([_best(probe, rows) for probe in (*others, old)])
    return tuple(
        Level(
            concept.name,
            float(before[i]),
            float(now[i]),
            surprise(float(now[i]), healthy[:, i], LEAST_SPREAD_OF_LEVEL),
        )
        for i, concept in enumerate(asked)
    )


def _best(probe: Probe, rows: Numbers) -> Numbers:
    best: Numbers = np.max(curves(probe, rows), axis=0)
    return best


def _normalised(curve: Numbers) -> Numbers:
    """Each concept as a share of its own maximum; NaN for one that is hardly read at all."""
    known = np.clip(np.nan_to_num(curve), 0.0, None)
    top = known.max(axis=0)
    shares: Numbers = np.where(top >= LEAST_RISE, known / np.maximum(top, LEAST_RISE), np.nan)
    return shares


def _shift(curve: Numbers, usual: Numbers) -> float:
    """By how many layers the usual curves must be moved to lie best on these."""
    depth = np.arange(len(curve), dtype=np.float64)
    both = np.isfinite(curve).all(axis=0) & np.isfinite(usual).all(axis=0)
    if not both.any():
        return float("nan")
    candidates = np.arange(-REACH, REACH + STEP / 2, STEP)
    misfit = [
        sum(
            np.square(np.interp(depth - by, depth, usual[:, c]) - curve[:, c]).sum()
            for c in np.flatnonzero(both)
        )
        for by in candidates
    ]
    return float(candidates[int(np.argmin(misfit))])


def _interval(found: Surprise) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, found.n - 1)) * found.sd * np.sqrt(1 + 1 / found.n)
    return found.value - half, found.value + half
