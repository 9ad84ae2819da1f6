"""What could be read from layers in the course of training: a bounded number of probes."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

PROBES: Final = 64
"""Probes that are kept at most: the older they are the fewer, and always the last."""
ROWS: Final = 50_000
"""Rows that they have together at most: about 0.25 MB."""


def thinned(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables of all probes so far, every other one where they became too many."""
    kept = list(tables)
    while len(kept) > 2 and (len(kept) > PROBES or sum(map(len, kept)) > ROWS):
        kept = [*kept[:-1:2], kept[-1]]
    return kept
