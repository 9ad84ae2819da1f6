"""The network as it ran: modules, operations, and what flows between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a module, an operation, an input or an output; see `contract.Artifact.GRAPH`.

    Attributes:
        id: unique; the name, or `name#2` of a second call.
        name: qualified name of the module, or of the one that an operation ran in.
        kind: class name, or name of the operation.
        type: "module", "operation", "input", "output", or "ghost" for a module that never ran.
        depth: position in the order of calls.
        parameters: elements of its parameters.
        output: shape of its first output.
    """

    id: str
    name: str
    kind: str
    type: str = "module"
    depth: int = 0
    parameters: int = 0
    output: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of calls, and edges from producers to consumers, by id."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...] = ()

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Module name -> class name."""
        return {n.name: n.kind for n in self.nodes if n.type in ("module", "ghost")}
