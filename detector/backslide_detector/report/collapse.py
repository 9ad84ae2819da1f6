"""A graph of hundreds of nodes as one of few boxes: modules stand for what is in them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from backslide_detector.graph import Graph, Node

MOST = 60
"""Boxes of a picture at most."""

LEAST = 6
"""Boxes for which it is worth to open a module that has too many children."""
RUN = "…"
"""In the path of neighbours taken together."""

Path = tuple[str, ...]
"""Names of modules from the outside in."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box of the picture.

    Attributes:
        key: unique.
        title: name of the module, or of the operation.
        members: what it stands for, in order of depth; one for a box that is no more than that.
    """

    key: str
    title: str
    members: tuple[Node, ...]

    @property
    def node(self) -> Node:
        """The last member: its output is the box's."""
        return self.members[-1]

    @property
    def depth(self) -> int:
        """Where it comes first."""
        return self.members[0].depth

    @property
    def ghost(self) -> bool:
        """Nothing in it ever ran."""
        return all(member.type == "ghost" for member in self.members)


@dataclass(frozen=True, slots=True)
class Sketch:
    """Boxes in order of depth, and edges between their keys."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, str], ...]


def collapsed(graph: Graph, marked: Iterable[str] = (), most: int = MOST) -> Sketch:
    """At most `most` boxes.

    The picture starts from the modules at the top and opens one after the other, those with
    marked nodes first, then the largest, as long as there is room. A module with too many
    children shows them in runs of neighbours, as far as there is room.

    Args:
        graph: with its modules named `blocks.0.conv1`.
        marked: ids of nodes worth a box of their own.
        most: boxes at most.
    """
    wanted = set(marked)
    shown: dict[Path, list[Node]] = {(): list(graph.nodes)}
    closed: set[Path] = set()
    while open_ := [key for key in shown if key not in closed and len(shown[key]) > 1]:
        key = max(open_, key=lambda k: (sum(n.id in wanted for n in shown[k]), len(shown[k])))
        parts = _children(shown[key], key)
        room = most - len(shown) + 1
        if len(parts) > room:
            if room < LEAST:
                closed.add(key)
                continue
            parts = _runs(parts, room, wanted)
            closed.update(part for part in parts if RUN in part)
        if set(parts) == {key}:
            closed.add(key)
            continue
        del shown[key]
        shown |= parts
    boxes = sorted((_box(key, nodes) for key, nodes in shown.items()), key=lambda b: b.depth)
    home = {node.id: box.key for box in boxes for node in box.members}
    edges = ((home[a], home[b]) for a, b in graph.edges)
    return Sketch(tuple(boxes), tuple(dict.fromkeys(e for e in edges if e[0] != e[1])))


def _path(node: Node) -> Path:
    """Where a node stands in the tree of modules; an operation stands in its module."""
    names = tuple(part for part in node.name.split(".") if part)
    if node.type in ("module", "ghost"):
        return (*names, *node.id[len(node.name) :].split()) if names else (node.id,)
    return (*names, node.id)


def _children(nodes: Sequence[Node], prefix: Path) -> dict[Path, list[Node]]:
    """The nodes by what comes next in their path; chains of only children are one step."""
    depth = len(prefix) + 1
    paths = {node.id: _path(node) for node in nodes}
    while True:
        parts: dict[Path, list[Node]] = defaultdict(list)
        for node in nodes:
            parts[paths[node.id][:depth]].append(node)
        if len(parts) > 1 or all(len(path) <= depth for path in paths.values()):
            break
        depth += 1
    if len(parts) == 1:  # they share one path: tell them apart by id
        return {(*paths[node.id], "", node.id): [node] for node in nodes}
    return dict(parts)


def _runs(
    parts: Mapping[Path, list[Node]], room: int, wanted: Set[str]
) -> dict[Path, list[Node]]:
    """Neighbours in order of depth taken together; those with marked nodes stay alone.

    For these, a third of the room is left to open them further.
    """
    ordered = sorted(parts.items(), key=lambda item: item[1][0].depth)
    alone = [key for key, nodes in ordered if any(n.id in wanted for n in nodes)]
    alone = alone[: room // 6]  # each may part the neighbours on its two sides
    rest = room * 2 // 3 - 2 * len(alone) if alone else room
    size = math.ceil(len(ordered) / max(rest, 1))
    found: dict[Path, list[Node]] = {}
    run: list[tuple[Path, list[Node]]] = []

    def close() -> None:
        if run:
            name = run[0][0] if len(run) == 1 else (*run[0][0], RUN, run[-1][0][-1])
            found[name] = [node for _, nodes in run for node in nodes]
            run.clear()

    for key, nodes in ordered:
        if key in alone:
            close()
            found[key] = nodes
            continue
        run.append((key, nodes))
        if len(run) == size:
            close()
    close()
    return found


def _box(key: Path, nodes: Sequence[Node]) -> Box:
    members = tuple(sorted(nodes, key=lambda node: (node.depth, node.id)))
    if len(members) == 1:
        return Box("/".join(key), members[0].id, members)
    title = ".".join(key).replace(f".{RUN}.", " … ")
    return Box("/".join(key), title or "network", members)
