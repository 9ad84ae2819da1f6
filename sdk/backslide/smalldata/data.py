"""Training data in any usual form, as examples that can be picked by index."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from backslide.smalldata.trees import (
    Tree,
    columns,
    held,
    joined,
    label,
    leaves,
    record,
    taken,
    tensors,
    with_held,
)

ARRAY_LIMIT: Final = 5_000
DECODED_LIMIT: Final = 600
"""Examples read of a dataset or loader, where each may cost a file and its decoding."""


@dataclass(frozen=True)
class Examples:
    """Inputs and targets with one row an example.

    Attributes:
        inputs: what the step is given as `x`.
        targets: what it is given as `y`; None where a batch holds none that can be told.
        inside: the name of the targets in `inputs`, where they lie there.
        part: of targets of several kinds, the place of those that are judged.
    """

    inputs: Tree
    targets: Tree
    inside: str | None = None
    part: int | None = None

    def __len__(self) -> int:
        """The number of examples."""
        return len(columns(self.inputs)[0])

    @property
    def features(self) -> list[Tensor]:
        """The tensors of the inputs, without targets among them."""
        inputs = self.inputs
        if self.inside is not None:
            inputs = with_held(inputs, self.inside, None)
        return list(tensors(inputs))

    def take(self, indices: Sequence[int] | Tensor) -> Self:
        """A copy of some examples, in the order asked for."""
        rows = torch.as_tensor(indices, dtype=torch.long).cpu()
        inputs = taken(self.inputs, rows)
        inside = self.inside
        targets = taken(self.targets, rows) if inside is None else held(inputs, inside)
        return replace(self, inputs=inputs, targets=targets)

    @property
    def truth(self) -> Tree:
        """The targets that answers are held against."""
        return self.targets if self.part is None else list(leaves(self.targets))[self.part]

    def targets_of(self, rows: Tensor) -> Tree:
        """A copy of the targets of some examples."""
        return taken(self.targets, rows)

    def truth_of(self, rows: Tensor) -> Tree:
        """A copy of `truth` of some examples."""
        return taken(self.truth, rows)

    def with_targets(self, targets: Tree) -> Self:
        """The same inputs with other targets."""
        if self.inside is None:
            return replace(self, targets=targets)
        inputs = with_held(self.inputs, self.inside, targets)
        return replace(self, inputs=inputs, targets=targets)


def read(data: object, generator: torch.Generator) -> Examples:
    """Draws examples at random from whatever `data` is, and leaves `data` as it was.

    Args:
        data: A pair (inputs, targets) of tensors or trees of them; a map-style dataset; a
            `DataLoader`; any iterable of batches that can be iterated again; or one batch. See
            `examples_of` for what a batch may be.
        generator: Decides which examples are drawn.

    Raises:
        TypeError: If it is none of these.
        ValueError: If it holds no examples, or their lengths disagree.
    """
    match data:
        case DataLoader(dataset=dataset, batch_sampler=sampler) if sampler and _mapped(dataset):
            # Its workers, its sampler and their random state stay untouched.
            return _from_dataset(dataset, data.collate_fn, generator)
        case Dataset() if _mapped(data):
            return _from_dataset(data, default_collate, generator)
        case (Mapping() as one, Mapping() as other) if one.keys() == other.keys():
            return _from_batches((one, other))
        case _ if _one_batch(data):
            return _drawn(examples_of(data), generator)
        case Iterable() if iter(data) is not data:
            return _from_batches(data)
        case _:
            raise TypeError(
                f"cannot read examples from {type(data).__name__}; pass (inputs, targets) "
                "tensors, a dataset, a DataLoader or a list of batches"
            )


def examples_of(batch: object) -> Examples:
    """What a step is given of a batch: `x` and `y`.

    A pair is (x, y); of a longer tuple or list the last is `y`, the others together are `x`.
    A mapping or an object that holds its targets is `x` as a whole, and they are `y` as well,
    under one of the names in `trees.LABELS`. A batch without targets is `x`, and `y` is None.

    Raises:
        TypeError: If it holds no columns.
        ValueError: If it holds no examples, or their lengths disagree.
    """
    match batch:
        case (tuple() | list()) as parts if len(parts) == 1:
            return examples_of(parts[0])
        case (tuple() | list()) as parts if len(parts) == 2:
            return _checked(Examples(parts[0], parts[1]))
        case (tuple() | list()) as parts if len(parts) > 2:
            return _checked(Examples(type(parts)(parts[:-1]), parts[-1]))
        case _ if (name := label(batch)) is not None:
            return _checked(Examples(batch, held(batch, name), name))
        case _:
            return _checked(Examples(batch, None))


def _one_batch(data: object) -> bool:
    """Whether it is all of the data at once, rather than several batches."""
    match data:
        case (_, (Tensor() | np.ndarray() | Mapping())) | Tensor() | np.ndarray() | Mapping():
            return True
        case tuple() if len(data) > 2:
            return all(isinstance(column, Tensor | np.ndarray) for column in data)
        case _:
            return record(data) and not isinstance(data, Iterable)


def _checked(examples: Examples) -> Examples:
    found = columns(examples.inputs)
    if not found or (examples.targets is not None and not columns(examples.targets)):
        odd = examples.targets if found else examples.inputs
        raise TypeError(f"cannot pick examples out of {type(odd).__name__}; use tensors")
    lengths = {len(column) for column in [*found, *columns(examples.targets)]}
    if len(lengths) != 1:
        raise ValueError(f"inputs and targets differ in their first axis: {sorted(lengths)}")
    if lengths == {0}:
        raise ValueError("there are no examples")
    return examples


def _drawn(examples: Examples, generator: torch.Generator) -> Examples:
    order = torch.randperm(len(examples), generator=generator)
    return examples.take(order[:ARRAY_LIMIT])


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
        examples = examples_of(batch)
        shape = tuple(tuple(t.shape[1:]) for t in tensors([examples.inputs, examples.targets]))
        by_shape.setdefault(shape, []).append(examples)
        count += len(examples)
        if count >= DECODED_LIMIT:
            break
    if not by_shape:
        raise ValueError("there are no examples")
    alike = max(by_shape.values(), key=lambda group: sum(map(len, group)))
    inputs, inside = joined([e.inputs for e in alike]), alike[0].inside
    if inside is not None:
        return Examples(inputs, held(inputs, inside), inside)
    return Examples(inputs, joined([e.targets for e in alike]))
