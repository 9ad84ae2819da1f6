"""A retrain from another start, layer by layer, against the spread of healthy ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from backslide_detector.inside.pair import Pair, label_rows
from backslide_detector.inside.readability import readability
from backslide_detector.inside.similarity import between_classes, cka
from backslide_detector.inside.spread import Surprise, surprise
from backslide_detector.probe import Numbers, Probe, ProbedLayer

LEAST_SPREAD: Final = 0.02
"""Of similarity, readability and the share between classes; smaller ones are luck."""
LEAST_SPREAD_OF_SIZE: Final = 0.10
"""Of the participation ratio, relative."""

SIMILARITY: Final = "similarity"
READABILITY: Final = "readability"
DIRECTIONS: Final = "directions"
BETWEEN: Final = "between classes"


@dataclass(frozen=True, slots=True)
class LayerSurprise:
    """One measure of one layer; `owner` is the module with its weights."""

    layer: str
    owner: str
    measure: str
    surprise: Surprise


def layer_surprises(pair: Pair) -> tuple[LayerSurprise, ...]:
    """Every measure of every layer of the new run against the healthy ones.

    Similarity is the mean CKA with the healthy runs; for each of those, with the others.
    """
    new, _ = pair.probes
    return tuple(
        LayerSurprise(layer.name, layer.owner, measure, found)
        for index, layer in enumerate(new.layers)
        for measure, found in _measured(index, new, pair.references)
        if found is not None
    )


def _measured(
    index: int, new: Probe, references: Sequence[Probe]
) -> list[tuple[str, Surprise | None]]:
    layer = new.layers[index]
    healthy = [probe.layers[index] for probe in references]
    rows = label_rows(new)
    found = [(SIMILARITY, _similarity(layer, healthy))]
    if len(rows):
        found.append((READABILITY, _compared(layer, healthy, lambda one: _readable(one, rows))))
    if len(rows) > 1:
        spread = _compared(layer, healthy, lambda one: between_classes(one, rows), both=True)
        found.append((BETWEEN, spread))
    sizes = np.array([one.participation for one in healthy])
    floor = LEAST_SPREAD_OF_SIZE * float(np.mean(sizes)) if len(sizes) else 0.0
    found.append((DIRECTIONS, surprise(layer.participation, sizes, floor, both=True)))
    return found


def _similarity(layer: ProbedLayer, healthy: Sequence[ProbedLayer]) -> Surprise | None:
    if len(healthy) < 3:
        return None
    among = np.array([[cka(one, other) for other in healthy] for one in healthy])
    np.fill_diagonal(among, 0.0)
    mine = float(np.mean([cka(layer, other) for other in healthy]))
    return surprise(mine, among.sum(axis=1) / (len(healthy) - 1), LEAST_SPREAD)


def _compared(
    layer: ProbedLayer,
    healthy: Sequence[ProbedLayer],
    measure: Callable[[ProbedLayer], float],
    *,
    both: bool = False,
) -> Surprise | None:
    values = np.array([measure(one) for one in healthy])
    return surprise(measure(layer), values, LEAST_SPREAD, both=both)


def _readable(layer: ProbedLayer, rows: Numbers) -> float:
    values = readability(layer.code, rows)
    known = values[np.isfinite(values)]
    return float(np.clip(known, 0.0, None).mean()) if len(known) else float("nan")
