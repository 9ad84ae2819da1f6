"""What is asked about each example: its class, its value, or whatever the user wants read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backslide.measure.probe.examples import Examples, column
from backslide.record.data import to_array
from backslide.record.text import storable

CLASSES: Final = 100
"""Classes that are looked at; of more, the most frequent ones."""
VALUES: Final = 16
"""Numbers an example that are looked at where targets are vectors."""
GIVEN: Final = 64
"""Concepts of the user's that are looked at."""

Kind = Literal["label", "value", "given"]


@dataclass(frozen=True, eq=False)
class Concepts:
    """Questions about n examples, those of classes first.

    Attributes:
        names: of the concepts, all different.
        kinds: one a concept.
        values: shape (n, concepts), NaN where not known.
        classes: names of the classes, in the order of their concepts.
        labels: column of each example's class, -1 where it is not among them, shape (n,).
        targets: as given, shape (n, ...); None without any.
        problems: what was left out, one sentence each.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    values: NDArray[np.float64]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    targets: NDArray[Any] | None
    problems: tuple[str, ...]


def ask(examples: Examples, targets: object, given: Mapping[str, object] | None) -> Concepts:
    """The questions that targets and the user's concepts ask.

    Args:
        examples: what they are about.
        targets: whole numbers, text or booleans are classes; so are floats of which all are 0
            or 1. Other floats are values.
        given: by name, a number or boolean for each example.

    Raises:
        ValueError: there are not as many as examples.
    """
    problems: list[str] = []
    truth = None if targets is None else column(targets, "targets", examples)
    labels = np.full(examples.rows, -1)
    columns: dict[str, tuple[Kind, NDArray[np.float64]]] = {}
    classes: tuple[str, ...] = ()
    if truth is not None and truth.dtype.kind == "f" and not _binary(truth):
        columns = _values(truth, problems)
    elif truth is not None and truth.ndim == 1:
        classes, labels = _classes(truth, problems)
        for number, name in enumerate(classes):
            columns[name] = "label", (labels == number).astype(np.float64)
    elif truth is not None:
        problems.append(f"targets of shape {to_array(targets).shape} are not one an example")
    for key, answers in _asked(given, problems):
        name = storable(key)
        while name in columns:
            name += " (given)"
        values = column(answers, f"values of the concept {key!r}", examples)
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            problems.append(f"the concept {key!r} is left out: not a number for each example")
            continue
        columns[name] = "given", values.astype(np.float64)
    blocks = [values for _, values in columns.values()]
    return Concepts(
        tuple(columns),
        tuple(kind for kind, _ in columns.values()),
        np.stack(blocks, 1) if blocks else np.zeros((examples.rows, 0)),
        classes,
        labels,
        truth,
        tuple(problems),
    )


def _asked(
    given: Mapping[str, object] | None, problems: list[str]
) -> list[tuple[object, object]]:
    asked = list((given or {}).items())
    if len(asked) > GIVEN:
        problems.append(f"of {len(asked)} concepts the first {GIVEN} are read")
    return asked[:GIVEN]  # type: ignore[return-value]  # keys of any type are as good


def _binary(truth: NDArray[Any]) -> bool:
    return truth.ndim == 1 and bool(np.isin(truth, (0.0, 1.0)).all())


def _values(
    truth: NDArray[Any], problems: list[str]
) -> dict[str, tuple[Kind, NDArray[np.float64]]]:
    flat = truth.reshape(len(truth), -1).astype(np.float64)
    width = flat.shape[1]
    if width > VALUES:
        problems.append(f"of {width} target values an example the first {VALUES} are read")
    names = ["value"] if truth.ndim == 1 else [f"value {index}" for index in range(width)]
    return {name: ("value", flat[:, at]) for at, name in enumerate(names[:VALUES])}


def _classes(
    truth: NDArray[Any], problems: list[str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the classes in their natural order, and the class of each example."""
    if truth.dtype.kind in "bf":
        truth = truth.astype(np.int64)
    if truth.dtype.kind not in "iu":
        truth = np.array([storable(value) for value in truth])
    counts = Counter(truth.tolist())
    if truth.dtype.kind in "iu":
        counts = Counter({label: count for label, count in counts.items() if label >= 0})
    kept = [label for label, _ in counts.most_common(CLASSES)]
    if len(counts) > CLASSES:
        problems.append(f"of {len(counts)} classes the {CLASSES} most frequent are read")
    order = {label: number for number, label in enumerate(sorted(kept))}
    labels = np.array([order.get(label, -1) for label in truth.tolist()], np.int64)
    return tuple(storable(label) for label in order), labels
