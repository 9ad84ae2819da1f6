"""The network as it ran: modules in the order of their first call."""

from collections.abc import Callable, Iterable

from torch import nn

from backslide.measure.graph.trace import Traced, tree
from backslide.measure.graph.tracer import Node


class Graph:
    """Collects modules while they run."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._nodes: dict[str, Node] = {}
        self._traced: Traced | None = None
        self._tried = False
        self._depths: dict[str, int] = {}

    def ran(self, name: str, module: nn.Module, output: tuple[int, ...]) -> None:
        """Notes a call; only the first of a module counts."""
        if name not in self._nodes:
            parameters = sum(tensor.numel() for tensor in module.parameters())
            kind = type(module).__name__
            self._nodes[name] = Node(name, name, kind, "module", parameters, output)
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

    def trace(self, trace: Callable[[], Traced], fail: Callable[[str], None]) -> None:
        """Learns once how modules are connected; `fail` is told why they are not."""
        if self._tried:
            return
        self._tried = True
        try:
            self._traced = trace()
        except Exception as error:  # noqa: BLE001  # a model that runs only as its author calls it
            fail(f"how modules are connected is not known: {error}")

    @property
    def dropping(self) -> tuple[str, ...]:
        """Places of the dropouts, modules and functions, that drop nearly everything."""
        return () if self._traced is None else self._traced.dropping

    def to_dict(self, model: nn.Module | None) -> dict[str, object]:
        """What `backslide/graph.json` holds of the network.

        Modules that ran in training but not when they were traced are there without edges.

        Args:
            model: whose modules are listed where none was seen to run.
        """
        traced = self._traced
        if traced is None:
            seen = tuple(self._nodes.values())
            listed = seen if seen or model is None else tree(model)
            return {"nodes": [_entry(node, at) for at, node in enumerate(listed)], "edges": []}
        known = {node.name for node in traced.nodes if node.type == "module"}
        late = tuple(node for name, node in self._nodes.items() if name not in known)
        ran = [node for node in (*traced.nodes, *late) if node.type != "ghost"]
        places = {node.name: place for place, node in reversed([*enumerate(ran)])}
        entries = [
            _entry(node, at, traced.calls.get(node.name, 1)) for at, node in enumerate(ran)
        ]
        for node in traced.nodes:
            if node.type == "ghost" and not _within(node.name, self._nodes):
                above = node.name.rpartition(".")[0]
                beside = (at for name, at in places.items() if _within(above, [name]))
                entries.append(_entry(node, min(beside, default=0), 0))
        return {"nodes": entries, "edges": [list(edge) for edge in traced.edges]}


def _entry(node: Node, depth: int, calls: int = 1) -> dict[str, object]:
    return {
        "id": node.id,
        "name": node.name,
        "kind": node.kind,
        "type": node.type,
        "depth": depth,
        "parameters": node.parameters,
        "output": list(node.output),
        "calls": 1 if node.type in ("operation", "input", "output") else calls,
    }


def _within(name: str, names: Iterable[str]) -> bool:
    """Whether any of the names is this one's, or of something inside it."""
    return any(each == name or each.startswith(name + ".") or not name for each in names)
