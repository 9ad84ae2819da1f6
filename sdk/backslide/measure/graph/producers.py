"""Who made a tensor, for as long as it lives."""

import weakref
from collections.abc import Iterable

from torch import Tensor

Made = frozenset[str]


class Producers:
    """Ids of the nodes whose numbers a tensor holds."""

    def __init__(self) -> None:
        """Knows no tensor yet."""
        self._known: dict[int, tuple[weakref.ref[Tensor], Made]] = {}

    def of(self, tensors: Iterable[Tensor]) -> list[str]:
        """Nodes that any of the tensors comes from, each once, in the tensors' order."""
        found: dict[str, None] = {}
        for tensor in tensors:
            found.update(dict.fromkeys(sorted(self._of(tensor))))
        return list(found)

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether it is known where a tensor comes from, and be it from nothing."""
        known = self._known.get(id(tensor))
        return known is not None and known[0]() is tensor

    def made(self, tensors: Iterable[Tensor], nodes: Iterable[str]) -> None:
        """Tells that tensors come from nodes, and no longer from what was known before."""
        made = frozenset(nodes)
        for tensor in tensors:
            self._known[id(tensor)] = weakref.ref(tensor), made

    def _of(self, tensor: Tensor) -> Made:
        # The number of a tensor that is gone may have gone to another one.
        known = self._known.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else frozenset()
