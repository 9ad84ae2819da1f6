"""Frozen views of a run: all that checks, verdicts and pictures may look at.

Nothing here reads or writes. Arrays are made read-only when a view is built.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pandas.util import hash_array

from backslide.contract import Measure, Tag
from backslide_detector.graph import Graph
from backslide_detector.probe import Inside, Probe
from backslide_detector.wording import module_title

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Series:
    """One metric over a run.

    Attributes:
        steps: training steps, shape (n,), ascending.
        values: shape (n,); NaN and infinities are kept.
        times: epoch seconds, shape (n,).
    """

    steps: Ints
    values: Floats
    times: Floats

    def __len__(self) -> int:
        """Number of points."""
        return len(self.steps)

    @property
    def last(self) -> float:
        """The newest value."""
        return float(self.values[-1])

    def at(self, steps: Ints) -> Floats:
        """The newest value up to each step, shape (s,) to (s,); NaN before the first."""
        place = np.searchsorted(self.steps, steps, side="right") - 1
        return np.where(place >= 0, self.values[np.maximum(place, 0)], np.nan)


@dataclass(frozen=True)
class LayerHistory:
    """Summaries of all tensors of one role over the snapshots of a run.

    Attributes:
        layers: tensor names, length l, in order of depth (module names for activations,
            parameter names for the other roles).
        kinds: class name of the module each tensor belongs to, length l; "" when not known.
        depth: shape (l,).
        count: elements of each tensor, shape (l,).
        steps: steps of the snapshots, shape (s,), ascending.
        mean, std, rms, abs_max, zero_fraction, nonfinite_fraction, saturated_fraction,
            dead_fraction: shape (s, l); NaN where not measured.
        histogram: shape (s, l, HISTOGRAM_BINS) in int32; zeros where not measured.
    """

    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    depth: Ints
    count: Ints
    steps: Ints
    mean: Floats
    std: Floats
    rms: Floats
    abs_max: Floats
    zero_fraction: Floats
    nonfinite_fraction: Floats
    saturated_fraction: Floats
    dead_fraction: Floats
    histogram: NDArray[np.int32]

    def module(self, index: int) -> str:
        """Qualified name of the module the `index`-th tensor belongs to."""
        owner, _, leaf = self.layers[index].rpartition(".")
        # Also `in_proj_weight` of attention and `bias_hh_l0` of recurrent layers.
        return owner if owner and ("weight" in leaf or "bias" in leaf) else self.layers[index]

    def title(self, index: int) -> str:
        """The same for people: with its class where the name is a number alone."""
        return module_title(self.module(index), self.kinds[index])


@dataclass(frozen=True)
class Batches:
    """What the network was fed and answered, one entry a sampled step; see the contract.

    Attributes:
        steps: shape (s,), ascending.
        examples: size of each batch, shape (s,).
        training: whether the model was in training mode, shape (s,).
        numbers: the columns of numbers in `contract.BATCHES_SCHEMA` by name, shape (s,); NaN
            where not measured.
        names: the columns of layers (`mixing_layer`, `cut_layer`), each of length s.
        structural: `mixing_structural`, shape (s,).
        answers: how outputs are to be read: "classes", "dense", "values", "vectors" or "",
            length s.
        digests: fingerprints of the first examples of each batch.
        predictions, targets: of the same examples (where "dense", of as many places of each);
            empty where `answers` is "", NaN for a
            target that is not known.
    """

    steps: Ints
    examples: Ints
    training: NDArray[np.bool_]
    numbers: Mapping[str, Floats]
    names: Mapping[str, tuple[str, ...]]
    structural: NDArray[np.bool_]
    answers: tuple[str, ...]
    digests: tuple[Ints, ...]
    predictions: tuple[Floats, ...]
    targets: tuple[Floats, ...]

    def __len__(self) -> int:
        """Number of sampled steps."""
        return len(self.steps)


@dataclass(frozen=True)
class Predictions:
    """Per-example outcomes on one split.

    Attributes:
        ids: example identities, shape (n,), unique, strings.
        targets, predictions: shape (n,), labels as strings or float values.
        correct: shape (n,), bool; without a meaning for values, which are hardly ever equal.
        loss, score: shape (n,), float; None when not logged.
        slices: name -> shape (n,) of strings.
    """

    ids: NDArray[np.object_]
    targets: NDArray[np.object_]
    predictions: NDArray[np.object_]
    correct: NDArray[np.bool_]
    loss: Floats | None = None
    score: Floats | None = None
    slices: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.ids)

    @property
    def are_labels(self) -> bool:
        """True for classes, which are right or wrong; False for values, and for no rows."""
        return len(self) > 0 and not isinstance(self.targets[0], float | np.floating)

    @property
    def error(self) -> float:
        """Share of wrong predictions."""
        return float(1.0 - self.correct.mean())

    @cached_property
    def test_set(self) -> str:
        """Digest of ids and targets in whatever order: relabelled, it is another test set."""
        ids = hash_array(self.ids, categorize=False)
        targets = self.targets if self.are_labels else self.targets.astype(np.float64)
        # An odd factor, so that examples which swap their targets do not cancel out.
        examples = ids * np.uint64(31) + hash_array(targets)
        return hashlib.sha256(np.sort(examples).tobytes()).hexdigest()

    @cached_property
    def losses(self) -> Floats:
        """Loss of each measured value, shape (n,): as logged, else its squared error."""
        if self.loss is not None:
            return self.loss
        return np.square(self.predictions.astype(np.float64) - self.targets.astype(np.float64))


@dataclass(frozen=True)
class Sketch:
    """Random sums of some examples of a data set: those with the smallest keys.

    Attributes:
        layout: digest of the shape of an example; sketches of one layout compare.
        keys: hash of each example's content, shape (n,), ascending, distinct.
        values: random sums of each example's numbers, shape (n, m).
        whole: the sketch holds all distinct examples of the data set.
    """

    layout: str
    keys: NDArray[np.uint64]
    values: Floats
    whole: bool


@dataclass(frozen=True)
class Nearest:
    """How well the five nearest examples of a data set tell an example's target.

    Attributes:
        examples: that were looked at.
        error: share of classes that were told wrongly; None for numbers.
        r_squared: share of the targets' variance that was told; None for classes.
    """

    examples: int
    error: float | None = None
    r_squared: float | None = None


@dataclass(frozen=True)
class DataSummary:
    """What a run said about one of its data sets."""

    name: str
    digest: str
    version: str | None = None
    rows: int | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, object] = field(default_factory=dict)
    nearest: Nearest | None = None
    sketch: Sketch | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a run's result came from; empty where the run did not say.

    The weights are digests of what the model started from and ended with.
    """

    seed: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    git_diff_digest: str | None = None
    source: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    initial_weights: str | None = None
    final_weights: str | None = None


@dataclass(frozen=True)
class ErrorRate:
    """The error a verdict is about, as far as the run stated it.

    Attributes:
        split: "test", "val", ...
        rate: share of wrong predictions, in [0, 1]; for other measures the mean loss.
        examples: size of the test set; None when the run did not say.
        source: the metric key or artifact it was read from.
        measure: what `rate` is.
    """

    split: str
    rate: float
    examples: int | None
    source: str
    measure: Measure = "error"

    @property
    def place(self) -> tuple[str, int | None, Measure]:
        """What two errors must share to be points of one course."""
        return self.split, self.examples, self.measure

    @property
    def possible(self) -> bool:
        """False for what no error of its measure can be."""
        top = 1.0 if self.measure == "error" else float("inf")
        return 0.0 <= self.rate <= top and self.rate < float("inf")


@dataclass(frozen=True)
class RunHead:
    """A run as a listing shows it: enough to find, order and choose, without its histories.

    Attributes:
        status: MLflow's word: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED.
        started, ended: epoch seconds.
        lineage: the run's `backslide.lineage` tag; None when it has none.
        metrics: newest value of each metric.
        revision: digest of all that was logged so far, apart from what the detector wrote.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    started: float
    ended: float | None
    lineage: str | None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True)
class RunEvidence:
    """One run, as far as it could be read.

    Attributes:
        status: MLflow's word: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED.
        started, ended: epoch seconds.
        series: all metric series by key, as logged (every step where the SDK wrote them).
        alike: names of weights whose rows, one an output unit, were all equal at the start.
        drawn: names of weights that at the start were as evenly spread as a random one.
        dropping: names of dropout modules that drop nearly everything.
        shrink: share of itself that weight decay took from a weight in the first step.
        idle: names of parameters that have gradients, are in no optimizer and never changed.
        graph: the network as it ran.
        probe: what its layers do on a fixed batch.
        problems: what could not be read and why, for the report.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    started: float
    ended: float | None
    lineage: str | None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    activations: LayerHistory | None = None
    gradients: LayerHistory | None = None
    weights: LayerHistory | None = None
    updates: LayerHistory | None = None
    batches: Batches | None = None
    alike: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    dropping: tuple[str, ...] = ()
    shrink: float = 0.0
    idle: tuple[str, ...] = ()
    graph: Graph | None = None
    probe: Probe | None = None
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    data: Mapping[str, DataSummary] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    error: ErrorRate | None = None
    problems: tuple[str, ...] = ()

    @cached_property
    def finished(self) -> bool:
        """True when no more evidence will come."""
        return self.status not in ("RUNNING", "SCHEDULED")

    @property
    def inside(self) -> Inside:
        """What other retrains' insides are compared with."""
        return Inside(
            run_id=self.run_id,
            name=self.name,
            probe=self.probe,
            graph=self.graph,
            parent=self.tags.get(Tag.PARENT),
            initial_weights=self.provenance.initial_weights,
            final_weights=self.provenance.final_weights,
        )
