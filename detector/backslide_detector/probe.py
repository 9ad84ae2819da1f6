"""What hidden layers do on a fixed batch of examples, as a run summed it up.

The columns are those of `contract.PROBE_SCHEMAS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from backslide_detector.graph import Graph

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ProbedLayer:
    """One layer on n examples.

    Attributes:
        units: channels.
        positions: places that each channel was evaluated at.
        signed: outputs take both signs.
        gram_norm, gram_trace: Frobenius norm and trace of the centred Gram matrix K, exact.
        spectrum: largest eigenvalues of K, descending.
        code: leading principal components, shape (n, r).
        remainder: random sums of what those leave out, shape (n, k), such that code code' +
            remainder remainder' is K on average; perhaps empty.
        live: channels that vary, shape (units,).
        signatures: each channel at fixed places, shape (units, places).
        weights: the module whose weights these outputs come from.
    """

    name: str
    kind: str
    depth: int
    units: int
    positions: int
    signed: bool
    gram_norm: float
    gram_trace: float
    spectrum: Numbers
    code: NDArray[np.float32]
    live: NDArray[np.bool_]
    signatures: NDArray[np.float32]
    weights: str = ""
    remainder: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def sketch(self) -> NDArray[np.float32]:
        """What stands for K, shape (n, r + k)."""
        if len(self.remainder) != len(self.code):
            return self.code
        return np.hstack([self.code, self.remainder])

    @property
    def owner(self) -> str:
        """The module to look at when this layer changed."""
        return self.weights or self.name

    @property
    def shape(self) -> tuple[str, str, int, int]:
        """What two layers must share for their channels to be compared one by one."""
        return self.name, self.kind, self.units, self.positions

    @property
    def participation(self) -> float:
        """Participation ratio: how many directions the examples spread over."""
        return self.gram_trace**2 / self.gram_norm**2 if self.gram_norm > 0 else 0.0


@dataclass(frozen=True)
class Branch:
    """Channels of a module inside a block, whose output alone is a layer.

    Attributes:
        layer: name of the layer it leads into.
        live, signatures: as of a layer.
    """

    name: str
    layer: str
    live: NDArray[np.bool_]
    signatures: NDArray[np.float32]

    @property
    def owner(self) -> str:
        """The module to look at when these changed."""
        return self.name

    @property
    def shape(self) -> tuple[str, int]:
        """What two must share for their channels to be compared one by one."""
        return self.name, len(self.live)


@dataclass(frozen=True)
class Groups:
    """Groups of channels of one layer that are active together, k of them.

    Attributes:
        share: of the explained sum of squares, shape (k,).
        stability: cosine with the same group after a restart, shape (k,).
        activity: on each example, shape (k, n).
        maps: the same on a grid of the positions, shape (k, n, cells); None where positions
            are no image.
        attribution: gradient x activation for each class, shape (k, classes); perhaps empty.
    """

    share: Numbers
    stability: Numbers
    activity: NDArray[np.float32]
    maps: NDArray[np.uint8] | None
    attribution: Numbers


@dataclass(frozen=True)
class Concept:
    """One thing asked about each example; `kind` is label, value or given."""

    name: str
    kind: str
    values: Numbers


@dataclass(frozen=True)
class Course:
    """Readability over the probes of a run.

    Attributes:
        steps: shape (s,), ascending.
        layers: names, length l.
        r2: mean over the labels or values, shape (s, l); NaN where not measured.
        accuracy: of the best-read class as the answer, shape (s, l).
    """

    steps: NDArray[np.int64]
    layers: tuple[str, ...]
    r2: Numbers
    accuracy: Numbers


@dataclass(frozen=True)
class ProbedExample:
    """One example of the batch; `thumbnail` is a PNG, None unless the user asked for it."""

    id: str
    target: str
    prediction: str
    score: float
    loss: float
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Probe:
    """The last probe of a run.

    Attributes:
        digest: of inputs and targets; probes with different ones do not compare.
        examples: n, how many.
        step: at which it was taken.
        classes: names in the order of `Groups.attribution`.
        accuracy: the model's own on the batch; None for other targets.
        layers: from input to output.
        branches: inside of layers, in the order in which they ran.
        groups: by layer.
        panel: the examples, in order; empty when not logged.
    """

    digest: str
    examples: int
    step: int
    layers: tuple[ProbedLayer, ...]
    classes: tuple[str, ...] = ()
    accuracy: float | None = None
    groups: Mapping[str, Groups] = field(default_factory=dict)
    concepts: tuple[Concept, ...] = ()
    course: Course | None = None
    panel: tuple[ProbedExample, ...] = ()
    branches: tuple[Branch, ...] = ()

    @property
    def channels(self) -> tuple[ProbedLayer | Branch, ...]:
        """Layers and branches, each branch before the layer it leads into."""
        found: list[ProbedLayer | Branch] = []
        for layer in self.layers:
            found += [branch for branch in self.branches if branch.layer == layer.name]
            found.append(layer)
        return tuple(found)

    @property
    def summary(self) -> "Probe":
        """Without groups, examples and course: as much as other runs are compared with."""
        return replace(self, groups={}, panel=(), course=None)

    @property
    def labels(self) -> tuple[Concept, ...]:
        """Concepts that the targets are made of: classes, or values of a regression."""
        return tuple(c for c in self.concepts if c.kind in ("label", "value"))

    def layer(self, name: str) -> ProbedLayer | None:
        """The layer of that name."""
        return next((layer for layer in self.layers if layer.name == name), None)


@dataclass(frozen=True)
class Inside:
    """One run as far as its inside goes: what retrains are compared by.

    Attributes:
        parent: run id of the tag `backslide.parent`.
        initial_weights, final_weights: digests of the weights it started from and ended with.
    """

    run_id: str
    name: str
    probe: Probe | None = None
    graph: Graph | None = None
    parent: str | None = None
    initial_weights: str | None = None
    final_weights: str | None = None
