"""The network as it ran: modules in the order of their first call."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Node:
    """One module that ran.

    Attributes:
        name: qualified name.
        kind: class name.
        parameters: number of elements of its own parameters.
        output: shape of its first output.
    """

    name: str
    kind: str
    parameters: int
    output: tuple[int, ...]


class Graph:
    """Collects modules while they run."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._nodes: dict[str, Node] = {}
        self._depths: dict[str, int] = {}

    def ran(self, name: str, module: nn.Module, output: tuple[int, ...]) -> None:
        """Notes a call; only the first of a module counts."""
        if name not in self._nodes:
            parameters = sum(tensor.numel() for tensor in module.parameters())
            self._nodes[name] = Node(name, type(module).__name__, parameters, output)
            self._depths[name] = len(self._depths)

    def __contains__(self, name: str) -> bool:
        """Whether a module has run."""
        return name in self._nodes

    def depth(self, module: str) -> int:
        """Position of a module in the order of calls.

        One that was not seen stands with its nearest ancestor's first child, or its neighbours
        by name, or at 0.
        """
        while module:
            inside = [
                depth
                for name, depth in self._depths.items()
                if name == module or name.startswith(module + ".")
            ]
            if inside:
                return min(inside)
            module = module.rpartition(".")[0]
        return 0

    def to_dict(self) -> dict[str, list[dict[str, object]]]:
        """What `backslide/graph.json` holds."""
        nodes = [
            {
                "name": node.name,
                "kind": node.kind,
                "depth": self._depths[node.name],
                "parameters": node.parameters,
                "output": list(node.output),
            }
            for node in self._nodes.values()
        ]
        return {"nodes": nodes, "edges": []}
