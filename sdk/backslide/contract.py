"""What the training side and the judging side agree on.

Names of tags and metrics, places of artifacts, schemas of tables. The SDK writes by it, the
detector reads by it, and neither imports the other. Standard library and pyarrow alone.
"""

from enum import StrEnum
from typing import Final, Literal

import pyarrow as pa

SCHEMA: Final = "1"
"""Version of everything in this module, written as the tag `backslide.schema`."""


class Tag:
    """Run tags. The SDK writes the first group, the detector the second."""

    LINEAGE: Final = "backslide.lineage"
    SCHEMA: Final = "backslide.schema"
    BASELINE: Final = "backslide.baseline"
    PARENT: Final = "backslide.parent"
    SEED: Final = "backslide.seed"
    SMALL_DATA: Final = "backslide.small_data"
    """What the small-data test said: its kind, and the cause after a colon."""
    CLIENT: Final = "backslide.client"
    """A unique id made by the client beforehand, so that the run is never created twice."""
    ATTRIBUTION: Final = "backslide.attribution"
    """JSON `{"of": run id, "new": ["data", ...]}`: a run that helps to settle the cause of that
    run's difference, these kinds taken from its recipe and the rest from its baseline's."""
    REPEAT: Final = "backslide.repeat"
    """Names a batch of trainings of one recipe under several seeds, made to measure luck."""
    DECISION: Final = "backslide.decision"
    """`accepted` or `rejected`, by a person."""

    VERDICT: Final = "backslide.verdict"
    HEALTH: Final = "backslide.health"
    FINDINGS: Final = "backslide.findings"
    SUMMARY: Final = "backslide.summary"
    COMPARED_TO: Final = "backslide.compared_to"
    CAUSE: Final = "backslide.cause"
    STOP: Final = "backslide.stop"
    REVISION: Final = "backslide.rev"
    """Digest of what the detector last wrote; equal digests mean nothing is left to write."""

    NOTE: Final = "mlflow.note.content"


class Metric:
    """Metric keys with a meaning fixed here."""

    LAST_SEEN: Final = "backslide/last_seen"
    """Heartbeat: epoch seconds, at least every `HEARTBEAT_SECONDS` while the job lives."""
    OVERHEAD: Final = "backslide/overhead"
    """Share of training time spent on watching, as a fraction."""
    DROPPED: Final = "backslide/dropped"
    """Records given up because of a limit, counted since the start."""
    NONFINITE: Final = "backslide/nonfinite"
    """Scalars logged as NaN or infinite so far (MLflow itself stores infinity as 1.8e308)."""

    GRADIENT_NORM: Final = "gradient/norm"
    DEAD_FRACTION: Final = "activation/dead_fraction"
    UPDATE_RATIO: Final = "update/ratio"
    LEARNING_RATE: Final = "lr"
    """Of each parameter group as `lr/<group>`: its name, or its number over all optimizers."""

    ERROR_DELTA: Final = "backslide/error_delta"
    ERROR_DELTA_LOW: Final = "backslide/error_delta_low"
    ERROR_DELTA_HIGH: Final = "backslide/error_delta_high"
    EVIDENCE: Final = "backslide/evidence"
    """-log10 of the p-value against "no difference": 1.3 is p = 0.05, 3 is p = 0.001."""


HEARTBEAT_SECONDS: Final = 15
DEAD_AFTER_SECONDS: Final = 180
"""A RUNNING run whose heartbeat is older than this belongs to a job that died."""


class Verdict(StrEnum):
    """Values of the tag `backslide.verdict`."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    FIRST = "first"
    NONE = "none"


class Health(StrEnum):
    """Values of the tag `backslide.health`."""

    HEALTHY = "healthy"
    WARNING = "warning"
    FAILING = "failing"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Values in the tag `backslide.cause`, most likely first."""

    DATA = "data"
    CONFIG = "config"
    CODE = "code"
    ENVIRONMENT = "environment"
    NOISE = "noise"
    UNKNOWN = "unknown"


Measure = Literal["error", "loss", "mse"]
"""Values of `measure` in verdict.json: what a lineage is judged by, a share of wrong answers
or, where it predicts measured values, a mean loss or the mean squared error."""


class Role(StrEnum):
    """What a tensor is to the network: values of the column `role` of the layers table."""

    ACTIVATION = "activation"
    GRADIENT = "gradient"
    WEIGHT = "weight"
    UPDATE = "update"


class Artifact:
    """Paths below a run's artifact root."""

    ROOT: Final = "backslide"
    LAYERS: Final = "backslide/layers"
    BATCHES: Final = "backslide/batches"
    SCALARS: Final = "backslide/scalars"
    PREDICTIONS: Final = "backslide/predictions"
    DATA: Final = "backslide/data"
    PROBE: Final = "backslide/probe"
    """`probe.json` and a table each of `PROBE_SCHEMAS`: of the last probe in a run."""
    GRAPH: Final = "backslide/graph.json"
    """`{"nodes": [{"id", "name", "kind", "type", "depth", "parameters", "output", "calls"}],
    "edges": [[id, id]], "alike": [...], "idle": [...]}`. `type`: module, operation, input,
    output, or ghost for a module that never ran; `name`: qualified name of the module, or of
    the one an operation ran in; ids are unique, `name`, or `name#2` of a second call."""
    SKETCH: Final = ".sketch.parquet"
    """After the name of a data set, beside its summary."""
    PROVENANCE: Final = "backslide/provenance.json"
    SMALL_DATA: Final = "backslide/small-data.json"
    REPORT: Final = "backslide/report.html"
    VERDICT: Final = "backslide/verdict.json"


def part(number: int, writer: str = "") -> str:
    """Name of the `number`-th file of a table that grows: `part-00000.parquet`, ...

    A job that writes into a run which others write into as well names its files after itself:
    `part-00000-6f1e....parquet`.
    """
    return f"part-{number:05d}{'-' if writer else ''}{writer}.parquet"


SHARED_VIEW_TAG: Final = "mlflow.sharedViewState.backslide"
SHARED_VIEW_NAME: Final = "backslide verdicts"

NOTE_BEGIN: Final = "<!-- backslide:begin -->"
NOTE_END: Final = "<!-- backslide:end -->"
TEXT_LIMIT: Final = 7_500
"""MLflow cuts tags and notes at 8,000 characters without a word; stay below."""

# Histogram of signed log2 magnitudes. Bin 0 holds the most negative values, the middle bin
# exact zeros, the last the largest. A value v != 0 falls at exponent floor(log2 |v|), clipped
# to the range, so the outermost bins are open. Non-finite values are in no bin. The bins are
# the same in every run, so histograms add up and compare.
EXPONENT_MIN: Final = -40
EXPONENT_MAX: Final = 23
MAGNITUDE_BINS: Final = EXPONENT_MAX - EXPONENT_MIN + 1
ZERO_BIN: Final = MAGNITUDE_BINS
HISTOGRAM_BINS: Final = 2 * MAGNITUDE_BINS + 1

LAYERS_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("wall_time", pa.float64()),
        ("layer", pa.string()),
        ("depth", pa.int32()),
        ("role", pa.string()),
        ("count", pa.int64()),
        ("mean", pa.float32()),
        ("std", pa.float32()),
        ("rms", pa.float32()),
        ("abs_max", pa.float32()),
        ("zero_fraction", pa.float32()),
        ("nonfinite_fraction", pa.float32()),
        ("saturated_fraction", pa.float32()),
        ("dead_fraction", pa.float32()),
        ("histogram", pa.list_(pa.int32())),
    ]
)
"""One row a step and tensor. `layer` is the module's qualified name for activations and the
parameter's for the other roles; `depth` counts modules in the order they ran. The moments are
over the finite elements. `dead_fraction`: share of units (channels) that were zero on every
example of the last sampled batches; for gradients, share of units whose gradient was exactly
zero throughout. `saturated_fraction`: share of units of a bounded activation that stayed at its
bounds. NaN where a statistic has no meaning for the tensor."""

SCALARS_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Every scalar of every step; `timestamp` in epoch milliseconds."""

BATCHES_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("examples", pa.int32()),
        ("training", pa.bool_()),
        ("input_mean", pa.float32()),
        ("input_std", pa.float32()),
        ("input_rms", pa.float32()),
        ("input_abs_max", pa.float32()),
        ("input_spread_ratio", pa.float32()),
        ("input_offset", pa.float32()),
        ("input_constant_fraction", pa.float32()),
        ("input_nonfinite_fraction", pa.float32()),
        ("digests", pa.list_(pa.int64())),
        ("answers", pa.string()),
        ("outputs", pa.int32()),
        ("output_low", pa.float32()),
        ("output_high", pa.float32()),
        ("predictions", pa.list_(pa.float32())),
        ("targets", pa.list_(pa.float32())),
        ("target_low", pa.float32()),
        ("target_high", pa.float32()),
        ("loss", pa.float32()),
        ("gradient_balance", pa.float32()),
        ("cross_entropy", pa.float32()),
        ("trial_loss", pa.float32()),
        ("trial_eval_loss", pa.float32()),
        ("trial_error", pa.float32()),
        ("trial_eval_error", pa.float32()),
        ("trial_eval_distance", pa.float32()),
        ("mixing", pa.float32()),
        ("mixing_layer", pa.string()),
        ("mixing_structural", pa.bool_()),
        ("dependence", pa.float32()),
        ("cut_layer", pa.string()),
    ]
)
"""One row a sampled step: the first batch that the model got in it, as `model(inputs)` saw it.

`training`: the model was in training mode. Inputs are described by the first tensor among the
arguments, over at most 64 examples (the first ones) and 1,024 features of each; `input_*` are
NaN where the inputs are integers. `input_spread_ratio`: largest over smallest standard
deviation of the features that vary; `input_offset`: median over them of |mean| / std;
`input_constant_fraction`: share of features that are the same in all examples. `digests`: a
fingerprint of each example, equal for equal inputs.

`answers` says how outputs are to be read: `classes` (predictions and targets are class
numbers), `values` (one number an example), `vectors` (several numbers; both lists are empty),
or "" (not known). Targets are inferred from the gradient at the output, NaN where it says
nothing. Those of values and vectors, with `target_low` and `target_high`, hold if the loss is a
mean of squares, which `loss` tells: the batch's loss under that reading, to be compared with
the one logged. `outputs`: numbers that the network answers with for an example.
`gradient_balance`: of the gradient at the output, the sum over the batch as a share of the sum
of magnitudes, the median over outputs; zero where the loss weighs examples against each other.
NaN for batches of more than 64 examples. `cross_entropy`: share of the examples whose gradient
at the output is that of a cross-entropy which takes the output for logits and has one right
class; of classes only.

`trial_*`, `mixing` and `dependence` come from a few extra evaluations a run and are NaN in
other rows. The loss and the error of the same examples in training mode and in evaluation mode;
`trial_eval_distance`: rms difference of the two outputs over their standard deviation between
examples. Then every other example is replaced by its neighbour: `mixing` is the rms change of
the outputs of the examples that stayed, and `dependence` of those that were replaced, over the
rms output; `mixing_layer` is the first module whose output changed for an example that stayed,
`mixing_structural` that this is a recurrent or attention layer which takes the batch for the
sequence; `cut_layer` is the first module whose output did not change for replaced examples,
both "" where there is none."""

SLICE_PREFIX: Final = "slice."


def predictions_schema(value: pa.DataType, slices: tuple[str, ...] = ()) -> pa.Schema:
    """Schema of one split's predictions; `value` is the type of targets and predictions."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("target", value),
            ("prediction", value),
            ("correct", pa.bool_()),
            ("loss", pa.float32()),
            ("score", pa.float32()),
            *((SLICE_PREFIX + name, pa.string()) for name in slices),
        ]
    )


SKETCH_ROWS: Final = 1_000
SKETCH_COLUMNS: Final = 32
SKETCH_LAYOUT: Final = b"layout"
"""Schema metadata of a sketch: sketches of different layouts do not compare."""


def sketch_schema(columns: int) -> pa.Schema:
    """Schema of the sketch of a data set: `key`, then as many sums of an example's numbers.

    The rows have the smallest keys of the whole data set, ascending and distinct: with fewer
    than `SKETCH_ROWS` of them, it is all of its distinct examples.
    """
    sums = [(f"sum{number:02d}", pa.float16()) for number in range(columns)]
    return pa.schema([("key", pa.uint64()), *sums])


PROBE_EXAMPLES: Final = 512
PROBE_LAYERS: Final = 24
PROBE_BYTES: Final = 2_000_000
"""Limits of one probe: examples (the first ones), layers (chosen evenly by depth), and all its
files together."""
CODE_WIDTH: Final = 32
SPECTRUM_WIDTH: Final = 64
SIGNATURE_LENGTH: Final = 64
GROUPS: Final = 8
GROUP_GRID: Final = 4

PROBE_SCHEMAS: Final = {
    "layers": pa.schema(
        [
            ("layer", pa.string()),
            ("kind", pa.string()),
            ("depth", pa.int32()),
            ("units", pa.int32()),
            ("positions", pa.int32()),
            ("signed", pa.bool_()),
            ("gram_norm", pa.float64()),
            ("gram_trace", pa.float64()),
            ("spectrum", pa.list_(pa.float32())),
            ("code_scale", pa.float32()),
            ("weights", pa.string()),
        ]
    ),
    "codes": pa.schema(
        [("layer", pa.string()), ("example", pa.int32()), ("code", pa.list_(pa.float16()))]
    ),
    "units": pa.schema(
        [
            ("layer", pa.string()),
            ("unit", pa.int32()),
            ("live", pa.bool_()),
            ("scale", pa.float32()),
            ("signature", pa.list_(pa.int8())),
        ]
    ),
    "groups": pa.schema(
        [
            ("layer", pa.string()),
            ("group", pa.int32()),
            ("share", pa.float32()),
            ("stability", pa.float32()),
            ("weights", pa.list_(pa.float32())),
            ("activity", pa.list_(pa.float16())),
            ("maps", pa.list_(pa.uint8())),
            ("attribution", pa.list_(pa.float32())),
        ]
    ),
    "concepts": pa.schema(
        [("concept", pa.string()), ("kind", pa.string()), ("values", pa.list_(pa.float32()))]
    ),
    "readability": pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.string()),
            ("concept", pa.string()),
            ("r2", pa.float32()),
            ("accuracy", pa.float32()),
        ]
    ),
    "examples": pa.schema(
        [
            ("example", pa.int32()),
            ("id", pa.string()),
            ("target", pa.string()),
            ("prediction", pa.string()),
            ("score", pa.float32()),
            ("loss", pa.float32()),
            ("thumbnail", pa.binary()),
        ]
    ),
}
"""The tables of a probe: what layers do on n fixed examples, in evaluation mode.

With X the n x d outputs of a layer (positions flattened), centred over examples, and K = X X':

layers: `units` are channels (the last dimension of sequences, the second of images),
`positions` the places that each was evaluated at; `signed`: some outputs are negative.
`gram_norm` and `gram_trace`: Frobenius norm and trace of K, from all d features; `spectrum`:
the largest eigenvalues of K, descending, zeros beyond the rank; `code_scale`: what codes are to
be multiplied by, a power of two and nearly always 1; `weights`: the module with weights whose
outputs these are, where `layer` is the norm, activation or pooling after it.
codes: coordinates of each example on the leading principal components, so that code code' is
the best approximation of K of that rank; zeros beyond it.
units: signature of each channel at fixed (example, position) places, the same in every run with
this probe batch and as many positions: value = signature x scale; `live`: the channel varies.
groups: non-negative matrix factors of the outputs at positions. `weights`: of the channels, or
of their positive, then their negative parts where the layer is signed; `activity`: of the group
on each example, the mean over positions; `maps`: the same on a 4 x 4 grid of the positions,
n x 16 bytes, row by row, 255 the group's largest; empty where positions are not an image;
`share`: of the sum of squares that the factors explain, this one's; `stability`: the cosine of
its weights with their match after a restart; `attribution`: gradient x activation of the group
for each class, the mean over examples; empty for other targets.
concepts: what was asked about each example: `kind` is label (one a class, 0 or 1), value (the
targets of a regression) or given.
readability: of each concept in each layer, by four-fold ridge regression on the codes: `r2`;
`accuracy`, with the concept "" and NaN for r2, of the best-read class as the answer. One set of
rows a probe, so that its course over training is kept.
examples: of the probe batch; `id` as in the predictions of `evaluate`; `thumbnail`: a PNG, null
unless asked for."""


class Probe:
    """Keys of `probe.json`."""

    DIGEST: Final = "digest"
    """Of inputs and targets: probes of other examples do not compare."""
    EXAMPLES: Final = "examples"
    STEP: Final = "step"
    CLASSES: Final = "classes"
    """Names of the classes in the order of `attribution`; empty for other targets."""
    ACCURACY: Final = "accuracy"
    """The model's own on the probe batch, or null."""
    SECONDS: Final = "seconds"
    PROBLEMS: Final = "problems"
    """Sentences: what was left out and why."""
