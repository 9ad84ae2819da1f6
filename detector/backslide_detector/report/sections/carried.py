"""Groups of channels: what they answer to, and whether their layer still carries them."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from backslide_detector.inside.groups import CarriedGroup, carried_groups
from backslide_detector.inside.pair import Pair
from backslide_detector.probe import Concept, Groups, Probe
from backslide_detector.report.pictures.bands import Row, bands
from backslide_detector.report.pictures.groups import EXAMPLES, GroupRow, Tile, groups
from backslide_detector.report.section import Block, Figure

OPEN = 1
"""Layers whose groups are shown from the start."""
LAYERS = 4
"""Layers whose groups are shown at all: those with a loss first, then the deepest."""


def carried(pair: Pair, flagged: set[str]) -> list[Block]:
    """A picture and a row of numbers for the groups of the predecessor, layer by layer."""
    _, old = pair.probes
    found = carried_groups(pair)
    layers = list(dict.fromkeys(each.layer for each in found))
    loss = {layer: max(g.before - g.now for g in found if g.layer == layer) for layer in layers}
    ranked = sorted(
        layers, key=lambda layer: (layer not in flagged, -loss[layer], -layers.index(layer))
    )
    blocks = []
    for number, layer in enumerate(ranked[:LAYERS]):
        members = [each for each in found if each.layer == layer]
        figures = (
            Figure(_examples(members, old.groups[layer], old)),
            Figure(_readable(members, lost=layer in flagged)),
        )
        title = f"Groups of channels in {layer}, as {pair.old.name} formed them"
        legend = [
            ("dot-new", "R² of reading its activity from this run's layer"),
            ("ring", "from its own"),
        ]
        if old.groups[layer].maps is not None:
            legend.insert(0, ("heatmap", "where the group fires"))
        if any(each.surprise for each in members):
            legend.append(("band", "healthy runs, ± 2 spreads"))
        fold = None if number < OPEN else title
        blocks.append(Block("wide", figures, "" if fold else title, tuple(legend), fold))
    return blocks


def _examples(members: list[CarriedGroup], of: Groups, old: Probe) -> Markup:
    labels = [concept for concept in old.concepts if concept.kind == "label"]
    rows = []
    for each in members:
        strongest = np.argsort(-of.activity[each.group], kind="stable")[:EXAMPLES]
        tiles = tuple(
            Tile(
                label=_label(old, labels, int(i)),
                thumbnail=old.panel[i].thumbnail if old.panel else None,
                heat=None if of.maps is None else of.maps[each.group, i],
            )
            for i in strongest
        )
        rows.append(GroupRow(f"group {each.group}", _aside(each, of, old), tiles))
    return groups(rows)


def _aside(each: CarriedGroup, of: Groups, old: Probe) -> str:
    said = f"{each.share:.0%} of the activity"
    if of.attribution.shape[1] == len(old.classes) > 0:
        said += f", for {old.classes[int(of.attribution[each.group].argmax())]}"
    return said[:26]


def _label(old: Probe, labels: Sequence[Concept], number: int) -> str:
    if old.panel:
        return old.panel[number].target
    return next((c.name for c in labels if c.values[number] > 0.5), "")


def _readable(members: list[CarriedGroup], *, lost: bool) -> Markup:
    worst = max(members, key=lambda each: each.before - each.now)
    rows = [
        Row(
            f"group {each.group}" + ("" if each.stable else " (unstable)"),
            each.now,
            each.before,
            None
            if each.surprise is None
            else (
                each.surprise.mean - 2 * each.surprise.sd,
                each.surprise.mean + 2 * each.surprise.sd,
            ),
            bad=lost and each is worst,
        )
        for each in members
    ]
    return bands("Groups still readable", rows, (0.0, 1.0), lambda value: f"{value:.2f}")
