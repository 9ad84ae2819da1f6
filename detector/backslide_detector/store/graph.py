"""`backslide/graph.json` -> the network as it ran, whatever the file holds."""

from collections.abc import Mapping
from typing import Final

from backslide_detector.graph import Graph, Node

NODES: Final = 20_000
TYPES: Final = frozenset({"module", "operation", "input", "output", "ghost"})


def read_graph(value: Mapping[str, object], problems: list[str]) -> Graph | None:
    """The graph; None without nodes. Nodes and edges of a wrong form are left out.

    Args:
        value: the JSON object.
        problems: gets what could not be read.
    """
    listed = value.get("nodes")
    if not isinstance(listed, list) or not listed:
        return None
    if len(listed) > NODES:
        problems.append(f"graph.json: {len(listed):,} nodes; only the first {NODES:,} are read")
    nodes: dict[str, Node] = {}
    for entry in listed[:NODES]:
        node = _node(entry)
        if node is not None:
            nodes.setdefault(node.id, node)
    edges = value.get("edges")
    known = (_edge(entry, nodes) for entry in (edges if isinstance(edges, list) else []))
    ordered = sorted(nodes.values(), key=lambda node: node.depth)
    return Graph(tuple(ordered), tuple(dict.fromkeys(e for e in known if e))) if nodes else None


def _node(entry: object) -> Node | None:
    if not isinstance(entry, dict):
        return None
    name, kind = entry.get("name"), entry.get("kind")
    if not isinstance(name, str) or not isinstance(kind, str):
        return None
    known, kept = entry.get("id"), entry.get("type")
    output = entry.get("output")
    sizes = output if isinstance(output, list) else []
    return Node(
        id=known if isinstance(known, str) else name,
        name=name,
        kind=kind,
        type=kept if isinstance(kept, str) and kept in TYPES else "module",
        depth=_whole(entry.get("depth")),
        parameters=_whole(entry.get("parameters")),
        output=tuple(_whole(size) for size in sizes[:16]),
    )


def _edge(entry: object, nodes: Mapping[str, Node]) -> tuple[str, str] | None:
    match entry:
        case [str(start), str(end)] if start in nodes and end in nodes and start != end:
            return start, end
        case _:
            return None


def _whole(value: object) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
    return value if good else 0  # type: ignore[return-value]  # narrowed by `good`
