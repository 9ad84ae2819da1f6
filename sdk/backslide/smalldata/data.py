"""Training data in any usual form, as examples that can be picked by index."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

Tree: TypeAlias = Any
"""Tensors, arrays or lists with one row an example, in tuples, lists and mappings of them."""

ARRAY_LIMIT: Final = 5_000
DECODED_LIMIT: Final = 600
"""Examples read of a dataset or loader, where each may cost a file and its decoding."""


@dataclass(frozen=True)
class Examples:
    """Inputs and targets with one row an example."""

    inputs: Tree
    targets: Tree

    def __len__(self) -> int:
        """The number of examples."""
        return len(next(leaves(self.inputs)))

    def take(self, indices: Sequence[int] | Tensor) -> Self:
        """A copy of some examples, in the order asked for."""
        rows = torch.as_tensor(indices, dtype=torch.long).cpu()
        return type(self)(_take(self.inputs, rows), _take(self.targets, rows))

    def targets_of(self, rows: Tensor) -> Tree:
        """A copy of the targets of some examples."""
        return _take(self.targets, rows)


def read(data: object, generator: torch.Generator) -> Examples:
    """Draws examples at random from whatever `data` is, and leaves `data` as it was.

    Args:
        data: A pair (inputs, targets) of tensors or trees of them; a map-style dataset of such
            pairs; a `DataLoader`; or any iterable of batches that can be iterated again.
        generator: Decides which examples are drawn.

    Raises:
        TypeError: If it is none of these.
        ValueError: If it holds no examples, or their lengths disagree.
    """
    match data:
        case (inputs, (Tensor() | np.ndarray() | Mapping()) as targets):
            examples = _checked(inputs, targets)
            order = torch.randperm(len(examples), generator=generator)
            return examples.take(order[:ARRAY_LIMIT])
        case DataLoader(dataset=dataset, batch_sampler=sampler) if sampler and _mapped(dataset):
            # Its workers, its sampler and their random state stay untouched.
            return _from_dataset(dataset, data.collate_fn, generator)
        case Dataset() if _mapped(data):
            return _from_dataset(data, default_collate, generator)
        case Iterable() if iter(data) is not data:
            return _from_batches(data)
        case _:
            raise TypeError(
                f"cannot read examples from {type(data).__name__}; pass (inputs, targets) "
                "tensors, a dataset, a DataLoader or a list of (inputs, targets) batches"
            )


def leaves(tree: Tree) -> Iterator[Any]:
    """The tensors, arrays and lists of a tree."""
    match tree:
        case Mapping():
            for value in tree.values():
                yield from leaves(value)
        case tuple() | list() if _is_branch(tree):
            for value in tree:
                yield from leaves(value)
        case _:
            yield tree


def tensors(tree: Tree) -> Iterator[Tensor]:
    """The tensors and numeric arrays of a tree."""
    for leaf in leaves(tree):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf":
            yield torch.from_numpy(leaf)


def _map(function: Callable[[Any], Any], tree: Tree) -> Tree:
    match tree:
        case Mapping():
            mapped = {key: _map(function, value) for key, value in tree.items()}
            return mapped if type(tree) is dict else type(tree)(mapped)  # type: ignore[call-arg]  # mappings are built from mappings
        case tuple() if _is_branch(tree) and hasattr(tree, "_fields"):
            return type(tree)(*(_map(function, value) for value in tree))
        case tuple() | list() if _is_branch(tree):
            return type(tree)([_map(function, value) for value in tree])
        case _:
            return function(tree)


def _is_branch(values: Sequence[Any]) -> bool:
    """Whether a sequence holds columns; a list of words or numbers is itself a column."""
    return any(
        isinstance(value, Tensor | np.ndarray | Mapping | tuple | list) for value in values
    )


def _take(tree: Tree, rows: Tensor) -> Tree:
    def pick(leaf: Any) -> Any:  # noqa: ANN401  # a column of any type
        match leaf:
            case Tensor():
                return leaf.detach()[rows.to(leaf.device)]
            case np.ndarray():
                return leaf[rows.numpy()]
            case _:
                return type(leaf)(leaf[row] for row in rows.tolist())

    return _map(pick, tree)


def _checked(inputs: Tree, targets: Tree) -> Examples:
    columns = [*leaves(inputs), *leaves(targets)]
    if not all(isinstance(c, Tensor | np.ndarray | list | tuple) for c in columns):
        odd = next(c for c in columns if not isinstance(c, Tensor | np.ndarray | list | tuple))
        raise TypeError(f"cannot pick examples out of {type(odd).__name__}; use tensors")
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise ValueError(f"inputs and targets differ in their first axis: {sorted(lengths)}")
    if lengths == {0}:
        raise ValueError("there are no examples")
    return Examples(inputs, targets)


def _mapped(dataset: object) -> bool:
    return (
        not isinstance(dataset, IterableDataset)
        and hasattr(dataset, "__len__")
        and hasattr(dataset, "__getitem__")
    )


def _from_dataset(
    dataset: object, collate: Callable[[list[Any]], Any], generator: torch.Generator
) -> Examples:
    rows = cast("Sequence[Any]", dataset)
    order = torch.randperm(len(rows), generator=generator)[:DECODED_LIMIT].tolist()
    size = 32
    return _from_batches(
        [
            collate([rows[row] for row in order[i : i + size]])
            for i in range(0, len(order), size)
        ]
    )


def _from_batches(batches: Iterable[Any]) -> Examples:
    """Joins batches; of padded ones those of the commonest shape, as others do not fit."""
    by_shape: dict[object, list[Examples]] = {}
    count = 0
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError("a batch must be a pair (inputs, targets)")
        examples = _checked(*batch)
        shape = tuple(tuple(t.shape[1:]) for t in tensors([examples.inputs, examples.targets]))
        by_shape.setdefault(shape, []).append(examples)
        count += len(examples)
        if count >= DECODED_LIMIT:
            break
    if not by_shape:
        raise ValueError("there are no examples")
    alike = max(by_shape.values(), key=lambda group: sum(map(len, group)))
    return Examples(_join([e.inputs for e in alike]), _join([e.targets for e in alike]))


def _join(trees: list[Tree]) -> Tree:
    columns = iter(list(zip(*(leaves(tree) for tree in trees), strict=True)))

    def join(_: Any) -> Any:  # noqa: ANN401  # a column of any type
        parts = next(columns)
        match parts[0]:
            case Tensor():
                return torch.cat([part.detach() for part in parts])
            case np.ndarray():
                return np.concatenate(parts)
            case first:
                return type(first)(row for part in parts for row in part)

    return _map(join, trees[0])
