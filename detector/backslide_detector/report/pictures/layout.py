"""Places for the boxes of a graph: rows by longest path, order by neighbours, lanes for skips.

Source: Sugiyama, Tagawa and Toda (1981), Methods for visual understanding of hierarchical
system structures; without dummy nodes, since what passes over a row runs beside it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COLUMNS = 4
"""Boxes side by side at most; more of one rank go on in the next row."""
SWEEPS = 4

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go.

    Attributes:
        rows: keys of the boxes of each row, left to right.
        near: edges from one row to the next.
        skips: edges over rows, or against the order of calls, with the lane each runs in.
        lanes: how many lanes there are.
    """

    rows: tuple[tuple[str, ...], ...]
    near: tuple[Edge, ...]
    skips: tuple[tuple[Edge, int], ...]
    lanes: int


def layout(keys: Sequence[str], edges: Sequence[Edge]) -> Layout:
    """Lays out a graph.

    Args:
        keys: boxes in the order of calls.
        edges: between them; an edge against that order closes a loop of a collapsed graph.
    """
    place = {key: i for i, key in enumerate(keys)}
    forward = [e for e in edges if place[e[0]] < place[e[1]]]
    sources: dict[str, list[str]] = defaultdict(list)
    for start, end in forward:
        sources[end].append(start)
    linked = {key for edge in edges for key in edge}
    rank: dict[str, int] = {}
    for key in keys:
        before = [rank[source] + 1 for source in sources[key]]
        # What is joined to nothing stands where it was called.
        alone = max(rank.values(), default=-1) + 1 if key not in linked else 0
        rank[key] = max(before, default=alone)
    ranks: dict[int, list[str]] = defaultdict(list)
    for key in keys:
        ranks[rank[key]].append(key)
    _order(ranks, forward)
    rows = [
        tuple(ranks[r][i : i + COLUMNS])
        for r in sorted(ranks)
        for i in range(0, len(ranks[r]), COLUMNS)
    ]
    row_of = {key: i for i, row in enumerate(rows) for key in row}
    near = tuple(e for e in edges if row_of[e[1]] - row_of[e[0]] == 1)
    far = [e for e in edges if e not in set(near)]
    lanes = _lanes(far, row_of)
    skips = tuple((edge, lanes[edge]) for edge in far)
    return Layout(tuple(rows), near, skips, max(lanes.values(), default=-1) + 1)


def _order(ranks: Mapping[int, list[str]], edges: Sequence[Edge]) -> None:
    """Sorts each rank by the mean place of its neighbours in the one before, then after."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours: dict[str, list[str]] = defaultdict(list)
        for start, end in edges:
            neighbours[end if down else start].append(start if down else end)
        for r in sorted(ranks, reverse=not down):
            at = {
                key: i / max(len(row) - 1, 1) if len(row) > 1 else 0.5
                for row in ranks.values()
                for i, key in enumerate(row)
            }
            mean = {
                key: sum(at[n] for n in neighbours[key]) / len(neighbours[key])
                if neighbours[key]
                else at[key]
                for key in ranks[r]
            }
            ranks[r].sort(key=mean.__getitem__)


def _lanes(edges: Sequence[Edge], row_of: Mapping[str, int]) -> dict[Edge, int]:
    """The innermost lane that is free all along an edge, short edges first."""
    taken: list[list[tuple[int, int]]] = []
    found: dict[Edge, int] = {}

    def span(edge: Edge) -> tuple[int, int]:
        low, high = sorted((row_of[edge[0]], row_of[edge[1]]))
        return low, high

    for edge in sorted(edges, key=lambda e: (span(e)[1] - span(e)[0], span(e)[0])):
        low, high = span(edge)
        free = (
            number
            for number, spans in enumerate(taken)
            if all(high <= a or b <= low for a, b in spans)
        )
        found[edge] = next(free, len(taken))
        if found[edge] == len(taken):
            taken.append([])
        taken[found[edge]].append((low, high))
    return found
