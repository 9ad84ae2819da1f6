"""What is left out of a probe where it would get too large."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from backslide.contract import PROBE_BYTES
from backslide.measure.probe.layers import Layer, thinned
from backslide.measure.probe.tables import Seen, groups_table
from backslide.ship import parts

COURSE: Final = 300_000
"""Bytes that are kept free for what could be read over training, and for `probe.json`."""


def bounded(seen: Sequence[Seen], others: int) -> tuple[pa.Table, list[str]]:
    """The groups' table such that a probe keeps within its limit, and what was left out.

    Maps go first, those of every other layer, then the weights of the widest layers.

    Args:
        seen: by layer.
        others: bytes of the other tables.
    """
    room = PROBE_BYTES - COURSE - others
    images = [each.layer for each in seen if each.maps is not None]
    layers = [each.layer for each in seen]
    kept, weighed = images, layers
    table = groups_table(seen, kept, weighed)
    while kept and size(table) > room:
        kept = thinned(kept, len(kept) // 2)
        table = groups_table(seen, kept, weighed)
    widths = {each.layer: each.groups.weights.size for each in seen}
    while weighed and size(table) > room:
        widest = max(weighed, key=lambda layer: widths[layer])
        weighed = [layer for layer in weighed if layer != widest]
        table = groups_table(seen, kept, weighed)
    return table, [*_said("maps", images, kept), *_said("weights", layers, weighed)]


def size(table: pa.Table) -> int:
    """Bytes of a table as it is stored."""
    stream = pa.BufferOutputStream()
    parts.write(table, stream)
    return int(stream.tell())


def _said(what: str, all_: Sequence[Layer], kept: Sequence[Layer]) -> list[str]:
    if len(kept) == len(all_):
        return []
    return [
        f"{what} of groups are kept of {len(kept)} of {len(all_)} layers: the rest is too large"
    ]
