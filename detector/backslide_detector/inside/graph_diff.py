"""What differs between two networks as they ran: by name, kind and shape."""

from collections.abc import Iterable
from dataclasses import dataclass

from backslide_detector.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """Nodes and edges of one graph against another.

    Attributes:
        added, removed: nodes of the new graph alone, of the old alone, in order of depth.
        changed: (old, new) of one id but another kind or shape, or that ran and no longer does.
        joined, parted: edges between nodes of both graphs that are new, and that are gone.
    """

    added: tuple[Node, ...] = ()
    removed: tuple[Node, ...] = ()
    changed: tuple[tuple[Node, Node], ...] = ()
    joined: tuple[tuple[str, str], ...] = ()
    parted: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return any((self.added, self.removed, self.changed, self.joined, self.parted))

    @property
    def first(self) -> Node | None:
        """The earliest node of the new run, else of the old, that differs."""
        fresh = [*self.added, *(node for _, node in self.changed)]
        return min(fresh or self.removed, key=lambda node: node.depth, default=None)


def graph_diff(new: Graph, old: Graph) -> GraphDiff:
    """Compares what both graphs tell: one without connections tells of modules alone.

    Shapes without their first dimension, which counts the examples.
    """
    traced = bool(new.edges and old.edges)
    told = {"module"} | ({n.type for n in (*new.nodes, *old.nodes)} if traced else set())
    here = {n.id: n for n in new.nodes if n.type in told}
    there = {n.id: n for n in old.nodes if n.type in told}
    common = here.keys() & there.keys()
    mine = {e for e in new.edges if common.issuperset(e)} if traced else set()
    theirs = {e for e in old.edges if common.issuperset(e)} if traced else set()
    return GraphDiff(
        added=_ordered(here[key] for key in here.keys() - there.keys()),
        removed=_ordered(there[key] for key in there.keys() - here.keys()),
        changed=tuple(
            (there[n.id], n)
            for n in _ordered(here[key] for key in common)
            if _said(n) != _said(there[n.id])
        ),
        joined=tuple(sorted(mine - theirs)),
        parted=tuple(sorted(theirs - mine)),
    )


def _said(node: Node) -> tuple[str, str, int, tuple[int, ...]]:
    return node.kind, node.type, node.parameters, node.output[1:]


def _ordered(nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(sorted(nodes, key=lambda node: (node.depth, node.id)))
