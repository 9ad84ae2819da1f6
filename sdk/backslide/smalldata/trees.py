"""Batches of any type: columns with one row an example, in whatever holds them.

Columns are tensors, arrays and lists. Tuples, lists, mappings, dataclasses and plain objects
hold them; whatever else lies in there (a name, a flag, a number) stays as it is.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

Tree: TypeAlias = Any
"""Columns, and what holds them."""

LABELS: Final = ("labels", "label", "targets", "target", "label_ids", "y")
"""Names under which the targets lie in a batch that holds them, the likeliest first."""


def branches(tree: Tree) -> tuple[list[Tree], Callable[[list[Tree]], Tree]] | None:
    """What a tree holds, and how to build the like of other things; None of a leaf."""
    match tree:
        case Mapping():
            keys = list(tree)

            def mapping(values: list[Tree]) -> Tree:
                mapped = dict(zip(keys, values, strict=True))
                return mapped if type(tree) is dict else type(tree)(mapped)  # type: ignore[call-arg]  # mappings are built from mappings

            return [tree[key] for key in keys], mapping
        case tuple() if _holds(tree) and hasattr(tree, "_fields"):
            return list(tree), lambda values: type(tree)(*values)
        case tuple() | list() if _holds(tree):
            return list(tree), type(tree)
        case _ if record(tree):
            names = list(vars(tree))

            def fields(values: list[Tree]) -> Tree:
                twin = copy.copy(tree)
                for name, value in zip(names, values, strict=True):
                    object.__setattr__(twin, name, value)  # a frozen dataclass takes it so too
                return twin

            return [vars(tree)[name] for name in names], fields
        case _:
            return None


def record(tree: Tree) -> bool:
    """Whether it is an object whose attributes are columns, such as a dataclass."""
    if isinstance(tree, Tensor | np.ndarray | torch.nn.Module) or not hasattr(tree, "__dict__"):
        return False
    return any(isinstance(value, Tensor | np.ndarray) for value in vars(tree).values())


def leaves(tree: Tree) -> Iterator[Any]:
    """Columns and everything else that holds nothing."""
    found = branches(tree)
    if found is None:
        yield tree
        return
    for branch in found[0]:
        yield from leaves(branch)


def columns(tree: Tree) -> list[Any]:
    """The leaves with one row an example."""
    return [
        leaf
        for leaf in leaves(tree)
        if (isinstance(leaf, Tensor | np.ndarray) and leaf.ndim > 0)
        or isinstance(leaf, list | tuple)
    ]


def tensors(tree: Tree) -> Iterator[Tensor]:
    """The tensors and numeric arrays of a tree."""
    for leaf in leaves(tree):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf":
            yield torch.from_numpy(leaf)


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The like of a tree with each leaf replaced."""
    found = branches(tree)
    if found is None:
        return function(tree)
    values, build = found
    return build([mapped(function, value) for value in values])


def taken(tree: Tree, rows: Tensor) -> Tree:
    """A copy of some rows of every column."""

    def pick(leaf: Any) -> Any:  # noqa: ANN401  # a leaf of any type
        match leaf:
            case Tensor() if leaf.ndim:
                return leaf.detach()[rows.to(leaf.device)]
            case np.ndarray() if leaf.ndim:
                return leaf[rows.numpy()]
            case list() | tuple():
                return type(leaf)(leaf[row] for row in rows.tolist())
            case _:
                return leaf

    return mapped(pick, tree)


def joined(trees: list[Tree]) -> Tree:
    """Trees of one form as one, their rows in order."""
    together = iter(list(zip(*(leaves(tree) for tree in trees), strict=True)))

    def join(_: Any) -> Any:  # noqa: ANN401  # a leaf of any type
        parts = next(together)
        match parts[0]:
            case Tensor() if parts[0].ndim:
                return torch.cat([part.detach() for part in parts])
            case np.ndarray() if parts[0].ndim:
                return np.concatenate(parts)
            case list() | tuple():
                return type(parts[0])(row for part in parts for row in part)
            case _:
                return parts[0]

    return mapped(join, trees[0])


def label(tree: Tree) -> str | None:
    """The name of the targets in a batch that holds them."""
    held = tree if isinstance(tree, Mapping) else vars(tree) if record(tree) else {}
    return next((name for name in LABELS if held.get(name) is not None), None)


def held(tree: Tree, name: str) -> Tree:
    """What lies under a name."""
    return tree[name] if isinstance(tree, Mapping) else getattr(tree, name)


def with_held(tree: Tree, name: str, value: Tree) -> Tree:
    """The like of a tree with something else under a name."""
    keys = list(tree) if isinstance(tree, Mapping) else list(vars(tree))
    found = branches(tree)
    assert found is not None  # noqa: S101  # only what holds something has names
    values, build = found
    return build([value if key == name else old for key, old in zip(keys, values, strict=True)])


def _holds(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a sequence holds columns; a list of words or numbers is itself a column."""
    return any(
        isinstance(value, Tensor | np.ndarray | Mapping | tuple | list) or record(value)
        for value in values
    )
