"""One tensor a layer, and its log-histograms: shared by all that look inside."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide_detector.evidence import LayerHistory
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import magnitude, percent
from backslide_detector.report.pictures.columns import median_exponent
from backslide_detector.report.pictures.histogram import Track, histogram, span
from backslide_detector.report.section import Block, Figure, Table

UNMEASURED = "No {} were measured; backslide.start(..., model=model) measures them."

MOST = 60
"""Layers drawn at most."""
FIRST = 9
"""Layers whose histograms are open from the start."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a layer's tensor stands in a history, and what a finding says of the layer."""

    index: int
    module: str
    kind: str
    flag: str | None


def flags(judgement: Judgement) -> Mapping[str, str]:
    """Layer -> the checks that point at it."""
    named: dict[str, list[str]] = {}
    for check, found in judgement.findings:
        if found.layer is not None:
            named.setdefault(found.layer, []).append(check)
    return {layer: ", ".join(checks) for layer, checks in named.items()}


def tensors(history: LayerHistory, flagged: Mapping[str, str]) -> list[Tensor]:
    """The largest tensor of each module, in depth order, at most `MOST`.

    Too many are thinned evenly; those a finding points at stay.
    """
    return spread(every_tensor(history, flagged), MOST)


def every_tensor(history: LayerHistory, flagged: Mapping[str, str]) -> list[Tensor]:
    """The largest tensor of each module, in depth order.

    A module's bias tells the story of its weights again.
    """
    largest: dict[str, int] = {}
    for index in range(len(history.layers)):
        module = history.module(index)
        if module not in largest or history.count[index] > history.count[largest[module]]:
            largest[module] = index
    return [
        Tensor(index, module, history.kinds[index], flagged.get(module))
        for module, index in largest.items()
    ]


def left_out(chosen: list[Tensor], history: LayerHistory) -> str:
    """What to say where not every layer is drawn; "" where all are."""
    every = len({history.module(index) for index in range(len(history.layers))})
    if len(chosen) == every:
        return ""
    return (
        f" Drawn: {len(chosen)} of {every:,} layers, evenly spread, with those that a finding "
        "points at."
    )


def spread(every: list[Tensor], most: int) -> list[Tensor]:
    """At most `most` of them: the flagged ones and an even choice of the others."""
    if len(every) <= most:
        return every
    kept = [i for i, tensor in enumerate(every) if tensor.flag][:most]
    others = [i for i, tensor in enumerate(every) if not tensor.flag]
    room = most - len(kept)
    picks = np.linspace(0, len(others) - 1, room).round().astype(int).tolist()
    return [every[i] for i in sorted({*kept, *(others[p] for p in picks)})]


def histograms(
    chosen: list[Tensor], new: LayerHistory, old: LayerHistory | None, what: str
) -> tuple[Block, ...]:
    """Small multiples on common axes; the first ones open, the rest folded."""
    there = {name: i for i, name in enumerate(old.layers)} if old is not None else {}
    mine = {t.index: Track(new.steps, new.histogram[:, t.index]) for t in chosen}
    theirs = {
        t.index: Track(old.steps, old.histogram[:, there[new.layers[t.index]]])
        for t in chosen
        if old is not None and new.layers[t.index] in there
    }
    reach = span([*mine.values(), *theirs.values()])
    last = int(max(new.steps[-1], old.steps[-1] if theirs and old is not None else 0))
    figures = {
        t.index: Figure(
            histogram(
                f"Sizes of the {what} of {t.module}: {_caption(mine[t.index])}",
                mine[t.index],
                theirs.get(t.index),
                reach,
                last,
            ),
            t.module,
            t.kind,
            _caption(mine[t.index]),
            t.flag,
        )
        for t in chosen
    }
    first = spread(chosen, FIRST)
    shown = {t.index for t in first}
    rest = tuple(figures[t.index] for t in chosen if t.index not in shown)
    title = f"Sizes of the {what} of each layer"
    legend = _legend(mine, theirs, flagged=any(t.flag for t in chosen))
    blocks = [Block("small", tuple(figures[t.index] for t in first), title, legend)]
    if rest:
        blocks.append(Block("small", rest, fold=f"The other {len(rest)} layers"))
    return tuple(blocks)


def table(
    chosen: list[Tensor], new: LayerHistory, old: LayerHistory | None, what: str
) -> Table:
    """Medians and zero shares behind the histograms."""
    there = {name: i for i, name in enumerate(old.layers)} if old is not None else {}
    rows = []
    for t in chosen:
        name = new.layers[t.index]
        counts = new.histogram[:, t.index]
        row = [
            name,
            t.kind or "–",
            f"{int(new.count[t.index]):,}",
            percent(float(new.zero_fraction[-1, t.index])),
            _size(counts, 0),
            _size(counts, -1),
        ]
        if old is not None:
            known = name in there
            row.append(_size(old.histogram[:, there[name]], -1) if known else "–")
        rows.append(tuple(row))
    head = ("tensor", "kind", "elements", "zeros, last", "median size, first", "last")
    before = ("predecessor, last",) if old is not None else ()
    return Table(f"The {what} in numbers", head + before, tuple(rows), words=2)


def _legend(
    mine: Mapping[int, Track], theirs: Mapping[int, Track], *, flagged: bool
) -> tuple[tuple[str, str], ...]:
    legend = [
        ("density", "share of the elements of that size"),
        ("median", "median of the non-zero elements"),
    ]
    if theirs:
        legend.append(("median-old", "median of the predecessor"))
    legend.append(("zeros", "strip on top: share of exact zeros"))
    if any((track.counts.sum(axis=1) == 0).any() for track in mine.values()):
        legend.append(("missing", "not measured"))
    if flagged:
        legend.append(("flag", "a finding points here"))
    return tuple(legend)


def _caption(track: Track) -> str:
    return f"median {_size(track.counts, 0)} → {_size(track.counts, -1)}"


def _size(counts: NDArray[np.int32], snapshot: int) -> str:
    """Median size of the non-zero elements in one of the measured snapshots."""
    measured = counts[counts.sum(axis=1) > 0]
    if not len(measured):
        return "not measured"
    exponent = float(median_exponent(measured[snapshot]))
    return "all zero" if np.isnan(exponent) else magnitude(2.0**exponent)
